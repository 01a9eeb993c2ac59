import unittest

from stock import OutOfStock, Stock


class StockTest(unittest.TestCase):
    def test_what_is_added_is_there(self):
        stock = Stock()
        stock.add("apple", 3)
        self.assertEqual(stock.count("apple"), 3)

    def test_counts_add_up(self):
        stock = Stock()
        stock.add("apple", 3)
        stock.add("apple", 2)
        self.assertEqual(stock.count("apple"), 5)

    def test_what_is_sold_out_is_not_listed(self):
        stock = Stock()
        stock.add("pear")
        stock.add("apple")
        stock.take("pear")
        self.assertEqual(stock.articles(), ["apple"])

    def test_no_more_can_be_taken_than_there_is(self):
        stock = Stock()
        stock.add("apple")
        with self.assertRaises(OutOfStock):
            stock.take("apple", 2)
        self.assertEqual(stock.count("apple"), 1)


if __name__ == "__main__":
    unittest.main()
