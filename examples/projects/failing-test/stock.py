"""What a small shop has in stock."""


class OutOfStock(Exception):
    """More was asked for than there is."""


class Stock:
    def __init__(self):
        self._counts = {}

    def add(self, article, count=1):
        if count < 1:
            raise ValueError("count must be at least 1")
        self._counts[article] = count

    def take(self, article, count=1):
        left = self._counts.get(article, 0) - count
        if left < 0:
            raise OutOfStock(article)
        self._counts[article] = left

    def count(self, article):
        return self._counts.get(article, 0)

    def articles(self):
        """The names of all articles of which at least one is there, sorted."""
        return sorted(self._counts)
