"""The judges that can be named, built in or installed (entry-point group `paragone.judges`)."""

from paragone.data.registry import Registry

JUDGES = Registry("judges", {"digits": "paragone.judges.digits:DigitsJudge"})
