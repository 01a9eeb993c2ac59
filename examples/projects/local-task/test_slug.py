import unittest

from slug import slug


class SlugTest(unittest.TestCase):
    def test_words_are_joined_with_hyphens(self):
        self.assertEqual(slug("Hello big World"), "hello-big-world")

    def test_spaces_at_the_ends_do_not_count(self):
        self.assertEqual(slug("  Hello  "), "hello")


if __name__ == "__main__":
    unittest.main()
