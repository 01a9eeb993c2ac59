# Shortcuts for people; CI calls ./run-tests. `just` lists them.

_list:
    @just --list

# Format all sources
fmt:
    cargo xtask fmt

# What the repository promises about itself
tidy:
    cargo xtask tidy

# Lint everything; a warning is an error
clippy:
    cargo xtask clippy

# All tests; arguments go to the runner: `just test -p sterna-turn`
test *ARGS:
    cargo xtask test {{ARGS}}

# Everything that CI proves
ci:
    ./run-tests

# The API documentation
doc:
    cargo xtask doc

# The book, live, when mdbook is installed
book:
    mdbook serve docs

# The benches, in release mode
bench *ARGS:
    cargo xtask bench {{ARGS}}

# Instructions of the hot paths beside the baseline
count *ARGS:
    cargo xtask count {{ARGS}}

# Seeds of the simulation
sim *ARGS:
    cargo xtask sim {{ARGS}}

# SIGKILLs of real processes, with the figures
crash *ARGS:
    cargo xtask crash {{ARGS}}

# Licences and bans, when cargo-deny is installed
deny:
    cargo deny check licenses bans sources

# The binary of this checkout
run *ARGS:
    cargo run --quiet --package sterna-cli -- {{ARGS}}
