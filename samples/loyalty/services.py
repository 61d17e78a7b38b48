"""A letter box and a shop. In earnest these classes would call a mail provider and a shop's API."""

from threading import Lock

from samples.loyalty.contract import Mail, OutOfStock, Vouchers


class LetterBox(Mail):
    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    @property
    def letters(self) -> list[str]:
        return list(self._letters.values())

    def send(self, reference: str, member: str, text: str) -> None:
        self._letters.setdefault(reference, f"to {member}: {text}")


class CornerShop(Vouchers):
    def __init__(self, stock: int = 3) -> None:
        self.stock = stock
        self._issued: dict[str, str] = {}
        self._lock = Lock()  # tasks run on several threads

    def issue(self, reference: str, points: int) -> str:
        with self._lock:
            if reference not in self._issued:
                if not self.stock:
                    raise OutOfStock(f"no voucher for {points} points")
                self.stock -= 1
                self._issued[reference] = f"voucher {len(self._issued) + 1} for {points} points"
            return self._issued[reference]
