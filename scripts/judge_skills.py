"""Holds `sterna skills validate --strict` against the reference validator, skill by skill."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import skills_ref.validator


def main(sterna, corpus):
    cases = [json.loads(line) for line in open(corpus, encoding="utf-8")]
    agreed, known, wrong = 0, [], []
    sterna = os.path.abspath(sterna)
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "STERNA_HOME": home}
        for at, case in enumerate(cases):
            folder = pathlib.Path(home, str(at), case["folder"])
            folder.mkdir(parents=True)
            folder.joinpath("SKILL.md").write_bytes(case["text"].encode())
            theirs = skills_ref.validator.validate(folder)
            command = [sterna, "skills", "validate", "--strict", "--json", str(folder)]
            ended = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True)
            if ended.returncode not in (0, 1):
                wrong.append((at + 1, ended.stderr.strip()))
                continue
            ours = [json.loads(line)["message"] for line in ended.stdout.splitlines()]
            if (not theirs) == (ended.returncode == 0):
                agreed += 1
                if "differs" in case:
                    wrong.append((at + 1, "the corpus says that we differ, and we agree"))
            elif "differs" in case:
                known.append((at + 1, case["differs"]))
            else:
                wrong.append((at + 1, f"ours: {ours or 'valid'}; the reference: {theirs or 'valid'}"))
    print(f"{len(cases)} skills: {agreed} agreed, {len(known)} known differences, {len(wrong)} others")
    for line, why in known:
        print(f"  known, line {line}: {why}")
    for line, why in wrong:
        print(f"  WRONG, line {line}: {why}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
