"""Peers that need no learning: the most frequent answer, and hand-written keyword rules based on data/CODEBOOK.md."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.libraries.peer import Floats, Groups, Labels, Peer


class MostFrequent(Peer):
    """Gives every post each label's share in train as its probability; all shares are below one half here, so no label is given."""

    title = "most frequent"
    tuned = False
    per_turn = 0

    def fit(self, encoded: Any, Y: Labels, groups: Groups) -> None:  # noqa: ARG002 - the signature of `Peer`
        """See `Peer`."""
        self.share = Y.mean(axis=0)

    def probabilities(self, encoded: Any) -> Floats:
        """See `Peer`."""
        return np.tile(self.share, (len(encoded), 1))

    def save(self, folder: Path) -> None:
        """See `Peer`."""
        (folder / "shares.json").write_text(json.dumps(self.share.tolist()))


_FIRST = r"\b(i|i'm|i've|i'd|i was|me|my|mine|myself|we|us|our)\b"
_OTHER = r"\b(my|our) (\w+ )?(sister|mother|mom|mum|daughter|friend|best friend|girlfriend|wife|aunt|cousin|niece|roommate|brother|son)\b"
_CONDUCT = (
    r"\b(harass\w*|grop\w+|grabb\w+|touch\w*|fondl\w+|assault\w*|rap(ed?|ing)|molest\w*|kiss\w*|propositi\w+|hit(ting)? on|flirt\w*|lewd"
    r"|inappropriat\w+|leer\w*|ogl\w+|star(ed|ing) at|comment\w*|advances|sleep with|sex\w*|breasts?|boobs|tits|ass|butt"
    r"|crotch|penis|dick"
    r"|masturbat\w+|naked|nudes?|creepy?|coerc\w+|come on to|came on to|massage|slapp\w+|rubb\w+|pinch\w+|pressed"
    r"|catcall\w*|hotel room)\b"
)
_BOSS = (
    r"\b(boss(es)?|manager|supervisor|co-?workers?|colleagues?|employer|ceo|executive|superior|foreman|sergeant|commander|lieutenant"
    r"|landlord|client|customers?|patients?|producer|casting director|agent|editor|principal investigator|advisor|chef|partner at"
    r"|team ?lead|line manager|head of (department|hr)|interviewer|recruiter|vp|senior \w+|head chef|shift lead)\b"
)
_WORK = (
    r"\b((at|from|to|after|in) (my |the |our |an? )?(\w+ )?(work|office|job|workplace|company|firm|agency|newsroom|restaurant|warehouse)"
    r"|on the job|job interview|interview|intern(ship|ing)?|co-?op|temp job|first job|working (at|for|as|in)|work(ed)? (at"
    r"|for|as|in|with)"
    r"|waitress\w*|bartend\w*|barista|nurse|paramedic|hr|human resources|promotion|fired|quit my|office party|business trip|conference"
    r"|the (army|navy|military|marines)|enlisted|deployed|shift|break room|coffee shop job|retail|internship|phd|postdoc)\b"
)
_STREET_ACT = (
    r"\b(cat-?call\w*|wolf-?whistl\w+|whistl\w+|honk\w*|follow(ed|ing|s)|flash(ed|ing)|expos(ed|ing) himself|masturbat\w+"
    r"|jerk(ed|ing) off"
    r"|yell\w*|shout\w*|grabb\w+|grop\w+|leer\w*|ogl\w+|star(ed|ing)|touch\w*|rubb\w+|press\w+|corner\w+|block\w+|chas(ed"
    r"|ing)|spat|slapp\w+"
    r"|comment\w*|harass\w*|heckl\w+|hit on|smack\w+|approach\w+|pinch\w+)\b"
)
_PLACE = (
    r"\b(street|sidewalk|pavement|bus( stop)?|train|subway|metro|tube|tram|station|platform|taxi|cab|uber|park(ing lot)?|shop|store|mall"
    r"|supermarket|bar|pub|club|nightclub|concert|gig|festival|gym|beach|pool|market|elevator|airport|plane|flight|library"
    r"|crowd\w*|public"
    r"|walking (home|down|to|past|my dog)|walk(ed)? home|jogging|running|crosswalk|gas station|bike|rickshaw|queue|cinema|bookstore)\b"
)
_STRANGER = (
    r"\b(strangers?|random (man|guy|dude|men|guys)|some (man|guy|dude|creep|old man)|(a|an|the|this|two|three|group of"
    r"|old) (\w+ )?(man|men|guys?|boys)"
    r"|passers?-?by|drivers?|truck(er)?s?|construction workers?|car ?load|van)\b"
)
_RAPE = r"\b(rap(ed?|ing|es)|gang ?rap\w+|date rap\w+|molest(ed|ation|ing)?|sodomi\w+)\b"
_TOUCH = (
    r"\b(grop\w+|fondl\w+|grabb?(ed|ing|s)?|felt me up|feel(ing)? me up|finger(ed|ing)|touch(ed|ing)|forced (himself|herself|me|my|his)"
    r"|push(ed)? (himself|me down)|pinned me|held me down|kissed me|stuck his|put his|shov(ed|ing)|penetrat\w+|slapped my"
    r"|pinched my|rubb(ed|ing)"
    r"|pressed (his|himself)|humped|grinding on|dragged me|climbed on)\b"
)
_BODY = (
    r"\b(ass|arse|butt|bum|bottom|breasts?|boobs?|tits?|chest|crotch|thighs?|vagina|pussy|genitals|between my legs"
    r"|private parts?|privates|skirt|pants|bra|shirt|underwear|penis|dick|mouth|lips|neck)\b"
)


def _all(*patterns: str) -> str:
    """Return a pattern for posts that match all of these patterns, in any order."""
    return "^" + "".join(f"(?=.*{pattern})" for pattern in patterns)


# A label's score is the number of its patterns that a post matches, minus twice the number of matching patterns against it.
RULES: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "workplace_harassment": (
        [
            _all(_BOSS, _CONDUCT),
            _all(_WORK, _CONDUCT),
            _all(_BOSS, _CONDUCT, _FIRST),
            _all(_WORK, _CONDUCT, _FIRST),
            rf"\bmy (\w+ )?{_BOSS[2:]}",
            (
                r"\b(sexual(ly)? )?harass\w+ (me )?(at|by|in|on) (my |the |a |an )?(\w+ )?(work|job|boss|manager|office|colleague"
                r"|coworker|client|supervisor)"
            ),
            r"\b(sleep|slept|have sex|had sex) with (him|my boss|me) (to|for|if|or)",
            r"\b(reported|told|went to|complain\w*) (it |him |this )?(to )?(hr|human resources|my (boss|manager|supervisor))",
            (
                r"\b(fired|let go|lost my job|quit|left (the|my) job|no promotion|passed over)\b.*\b(harass\w+|refus\w+|said no"
                r"|report\w+|complain\w+)"
            ),
            r"\b(at|during) (a|my|the) (job )?interview\b",
            r"\bhostile work(place| environment)\b",
            _all(_BOSS, _FIRST),
            _all(_WORK, _FIRST),
            rf"\b(a|by a|an older|old|the|one) (\w+ )?{_BOSS[2:]}",
            r"\b(he|she) (was|is) my (\w+ )?(boss|manager|supervisor|superior|professor|advisor|mentor|director|client|trainer)",
            r"\b(my|when i was an?|as an?) (\w+ )?(job|career|internship|workplace|office|assistant|waitress|server|nurse|model)\b",
        ],
        [
            r"\b(weinstein|cosby|trump|o'?reilly|spacey|ailes|clinton|moore|ck|lauer|rose)\b",
            r"\b(alleg\w+|accus\w+|lawsuit|sues|according to)\b",
        ],
    ),
    "street_harassment": (
        [
            r"\bcat-?call\w*",
            r"\bwolf-?whistl\w+|\bwhistled at\b",
            r"\bstreet harass\w+",
            _all(_STREET_ACT, _PLACE),
            _all(_STREET_ACT, _STRANGER),
            _all(_STREET_ACT, _PLACE, _FIRST),
            _all(_STREET_ACT, _STRANGER, _FIRST),
            _all(_STREET_ACT, _PLACE, _STRANGER),
            r"\bfollow(ed|ing) (me|her|us)\b",
            r"\b(flashed|exposed himself|masturbat\w+|jerk\w+ off)\b.*\b(me|us|her|train|bus|street|park|car|subway)\b",
            r"\b(honk\w+|yell\w+|shout\w+|scream\w+) .{0,40}\b(from|out of) (a|the|their|his) (\w+ )?(car|truck|van|window)",
            r"\b(men|guys|man|guy|strangers?) (\w+ )?(yell|shout|scream|honk|whistl|star|leer)\w*",
            (
                r"\b(grabbed|groped|touched|pinched|slapped|smacked) .{0,40}\b(on|in|at) (a|the) (\w+ )?(bus|train|subway|metro|tube"
                r"|bar|club|concert|street|crowd|festival|party bus)"
            ),
            r"\bwalking (home|down|alone|to)\b",
            _all(_PLACE, _STRANGER),
            _all(_STRANGER, _CONDUCT, _FIRST),
            _all(_PLACE, _CONDUCT, _FIRST),
            _all(_PLACE, _TOUCH, _FIRST),
        ],
        [
            (
                r"\bmy (\w+ )?(boss|manager|ex|boyfriend|husband|uncle|father|dad|stepfather|teacher|cousin|friend|neighbou?r|coworker"
                r"|colleague)\b"
            ),
            r"\b(weinstein|trump|cosby)\b",
        ],
    ),
    "assault": (
        [
            rf"\b(i|we|she|he|they) (was|were|got|have been|had been|'ve been|am) (\w+ )*{_RAPE[2:]}",
            _all(_RAPE, _FIRST),
            _all(_RAPE, _OTHER),
            rf"{_RAPE} (me|her|us|my|when i|at (age|the age|\d))",
            r"\b(i|i've|me|we) .{0,30}\b(sexually )?(assaulted|abused)\b",
            r"\bsexual(ly)? (assault|abuse)\w*.{0,40}\b(me|i|my|by|survivor|when|at)\b",
            r"\bsurvivor of (\w+ )?(rape|assault|sexual|molest|incest|csa|abuse)",
            r"\bi('m| am) a (\w+ )*(rape|assault|abuse|csa|incest|sexual abuse) (survivor|victim)",
            r"\bmy (rapist|abuser|attacker|molester)\b",
            _all(_TOUCH, _BODY),
            _all(_TOUCH, _BODY, _FIRST),
            rf"{_TOUCH} (me|my|her|himself on)",
            r"\bforced (himself|me to|his|a kiss)\b",
            (
                r"\b(i|she) said (no|stop)\b|\bdidn'?t (stop|take no)\b|\bwouldn'?t (stop|take no)\b|\bwithout (my )?consent\b"
                r"|\btoo drunk to\b"
            ),
            (
                r"\b(drugged|roofied|spiked my|passed out|woke up (to|with)|unconscious|asleep)\b.*\b(him|his|he|on top|inside|raped"
                r"|naked|sex)\b"
            ),
            (
                r"\b(step-?)?(father|dad|uncle|brother|cousin|grandfather|grandpa|babysitter|family friend|neighbou?r|priest|coach"
                r"|teacher)\b.*\b(molest|abus|rap|touch|fondl|assault)\w*"
            ),
            r"\bgrabbed (me )?by the\b",
            r"\b(rape|assault|abuse|molest\w*|incest) (victim|survivor)s?\b",
            r"\b(victim|survivor) of\b",
            r"\b(sexual(ly)? (assault|abus)|rap(ed|ing)|molest|grop|fondl|incest|penetrat|virginity|forced me)\w*",
            _all(r"\b(sexual(ly)? (assault|abus)|rap(ed|ing)|molest|grop|fondl)\w*", r"\b(me|i|my)\b"),
            r"\b(i was|at age|age|when i was|at the age of) (only |just |about )?(\d|1\d|four|five|six|seven|eight|nine|ten|twelve)\b",
        ],
        [
            r"\b(weinstein|cosby|trump|polanski|spacey|allen|clinton|moore|r\.? kelly|sandusky|nassar)\b",
            r"\b(exam|test|game|wallet|bank|ears|tax|taxes|economy|music|verbally|traffic)\b",
            r"\b(alleg\w+|accus\w+|false\w*|statistic\w*|percent|1 in \d|one in \w+|according to)\b",
        ],
    ),
    "solidarity_support": (
        [
            (
                r"\bi (still )?(believe|hear|see|support|stand with|applaud|admire|salute|thank|love|honou?r) (you|all|them|her|every"
                r"|survivors|victims|women|these|those)"
            ),
            r"\b(we|i'll always|will) (believe|hear|see|support|stand with|stand by|stand beside) (you|all|them|survivors|victims|women)",
            r"\byou('re| are) (so |very )?(not alone|brave|strong|loved|believed|heard|amazing|a hero|heroes|incredible|not to blame)",
            r"\b(not|never) alone\b",
            r"\b(so |very |incredibly )?(brave|courageous|strong) (women|woman|people|men|souls|survivors|of you|voices|to)",
            r"\bthank(s| you)? .{0,40}\b(sharing|speaking|coming forward|your (story|courage|bravery|strength)|brave)",
            r"\bif all the (women|people|men)\b.*\b(harassed|assaulted)\b.*\b(me too|#?metoo|status)",
            r"\bmagnitude of the problem\b",
            r"^\W*(#\w+\W*|@\w+\W*|me,? too\W*|too\W*|<url>\W*|and me\W*|yep\W*|yes\W*|same\W*|also\W*|sadly\W*|ditto\W*|of course\W*)+$",
            (
                r"\b(solidarity|in support|love (and|to|&)|hugs?|sending (love|light|strength|hugs)|my heart (goes|breaks|aches|is)"
                r"|heartbreaking|proud of)\b"
            ),
            r"\b(it'?s|it was|it is) not (your|our|their) fault\b|\bnever your fault\b",
            r"\b(to (all|every|anyone|those|the) .{0,40}(survivor|women|woman|men|who (has|have|shared|spoke|can'?t|don'?t)))",
            r"\b(if you (need|want) (to talk|someone|help|support|anything)|here for you|dm me|hotline|reach out|rainn|1-?800)\b",
            (
                r"\b(men|guys|dudes|fellas|we (men|need|must|have to|can)|let'?s|please)\b.*\b(listen|do better|believe (women"
                r"|survivors|them)|speak up|step up|stop it|end this|change this|be better)"
            ),
            r"\b(i'?m sorry|so sorry) (this|that|for|to|you)\b",
            r"\b(believe|support|listen to|stand with|standing with|empower) (women|survivors|victims|her|them)\b",
            r"#(ibelieveyou|believewomen|believesurvivors|youarenotalone|notalone|itwasme|howiwillchange|himthough|ihearyou|solidarity|survivor)\w*",
            r"\b(share|sharing|shared|tell|telling|told) (your|their|her|his|these|those) (\w+ )?(story|stories|truth|experiences?)\b",
            r"\b(courage|bravery|strength|brave|courageous|powerful)\b",
            r"\b(we|together) (must|need to|will|can|should|have to|got this|stand)\b",
            r"\b(you|they) (deserve|matter|did nothing wrong|are worth)\b|\bi see you\b|\byour (voice|story) matters\b",
            (
                r"\b(sad|saddened|angry|overwhelm\w+|humbled|moved|inspired|in awe|crying|tears)\b.*\b(stories|posts|feed|timeline"
                r"|how many|tweets|women)\b"
            ),
        ],
        [
            (
                r"\b(witch ?hunt|attention|false(ly)? accus\w+|lying|liars?|fake|hoax|feminazi|snowflake|virtue signal\w*|bandwagon"
                r"|hypocri\w+)\b"
            ),
            r"\b(read|watch|listen|via|breaking|news|report|podcast|episode|blog)\b:?",
        ],
    ),
}


class KeywordRules(Peer):
    """Counts patterns for and against each label; only calibration and thresholds are learned."""

    title = "keyword rules"
    per_turn = 2000

    def __init__(self, labels: Sequence[str], seed: int, **setting: Any) -> None:
        super().__init__(labels, seed, **setting)
        nothing: tuple[Sequence[str], Sequence[str]] = ((), ())
        self.rules = [[[re.compile(each) for each in side] for side in RULES.get(name, nothing)] for name in self.labels]

    def encode(self, texts: Sequence[str]) -> Any:
        """Return posts in lower case on one line, with plain apostrophes."""
        return np.array([" ".join(text.lower().replace("’", "'").split()) for text in texts], object)

    def fit(self, encoded: Any, Y: Labels, groups: Groups) -> None:
        """See `Peer`; there is nothing to learn."""

    def probabilities(self, encoded: Any) -> Floats:
        """Return a sigmoid of the number of patterns for a label minus twice the number against it."""

        def count(patterns: Sequence[re.Pattern[str]], text: str) -> int:
            return sum(pattern.search(text) is not None for pattern in patterns)

        counts = np.array([[count(pro, text) - 2 * count(contra, text) for pro, contra in self.rules] for text in encoded], np.float64)
        return 1 / (1 + np.exp(-counts.reshape(len(encoded), len(self.labels))))

    def save(self, folder: Path) -> None:
        """See `Peer`."""
        (folder / "rules.json").write_text(json.dumps(RULES))
