"""A year of a membership, on a stage whose clock jumps: `python -m samples.loyalty`."""

from infinitic.testing import Stage
from samples.loyalty.services import CornerShop, LetterBox
from samples.loyalty.workflow import Loyalty

mail, ada = LetterBox(), Loyalty.by_id("ada")

with Stage(workflows=[Loyalty], services=[mail, CornerShop()]) as stage:
    membership = stage.client.start(Loyalty.run("Ada"), id="ada")
    stage.advance(weeks=26)
    stage.client.run(ada.bonus.send(100))
    print(f"{stage.now:%d %b %Y}: {stage.client.run(ada.account())}")
    print(f"{stage.now:%d %b %Y}: {stage.client.run(ada.redeem(150))}")
    stage.advance(weeks=26)
    print(f"{stage.now:%d %b %Y}: {stage.client.run(ada.account())}")
    stage.client.run(ada.close())
    print(f"{stage.now:%d %b %Y}: closed, with {membership.result()} points; {len(mail.letters)} letters")
    for letter in mail.letters:
        print(f"  {letter}")
