"""A few swaps for tests of what is made of them."""

from pipeline.evaluation.swaps import Carrier, SwapSet, Value

FEW = SwapSet(
    carriers=[
        Carrier("1", ("alpha",), "{name} saw a {person} whom {they} knew, zaxa"),
        Carrier("2", ("beta",), "wiku"),
        Carrier("3", (), "{they} lost {their} way"),
    ],
    values=[
        Value("teller", "control", "control", "I'm tall."),
        Value("teller", "control", "control", "I'm early."),
        Value("teller", "religion", "Muslim", "I'm Muslim."),
        Value("teller", "religion", "Jewish", "I'm Jewish."),
        Value("teller", "age", "16", "I'm 16."),
        Value("opening", "control", "control", "Listen."),
        Value("opening", "dialect", "Scots", "Och."),
        Value("opening", "dialect", "Scots", "Aye."),
        Value("pronoun", "pronoun", "she", "she/her/her/woman"),
        Value("pronoun", "control", "control", "they/them/their/person"),
        Value("name", "control", "control", "Alex"),
        Value("name", "name", "women", "Emily"),
    ],
    jobs={"nurse": "I'm a nurse.", "cook": "I'm a cook zaxa."},
)
