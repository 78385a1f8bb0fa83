"""Writes recorded.json: what dynamicprompts 0.31.0 makes of templates.

pip install dynamicprompts==0.31.0 pyyaml; python record.py [cases of random templates [FILE]]

DYNAMICPROMPTS_CASES=FILE makes the test read more cases than are kept here.
"""
import json
import logging
import multiprocessing
import os
import random
import sys
import warnings

from dynamicprompts.generators import CombinatorialPromptGenerator, RandomPromptGenerator
from dynamicprompts.parser.config import ParserConfig
from dynamicprompts.wildcards import WildcardManager

here = os.path.dirname(os.path.abspath(__file__))

TEMPLATES = [
    "a cat", "cat", "", "a {b|c} d", "{a|b|c}", "{a}", "{}", "{|}", "{a||b}", "{ a | b }", "x {  a  |  b  } y",
    "{0.5::a|b}", "{1::a|2.5::b|.5::c}", "{3.::a|b}", "{+0.5::a|b}", "{0::a|b}", "{0::a|0::b}", "{-1.0::a|3::b|c}", "{2$$a|b|c}",
    "{2$$ and $$a|b|c}", "{1-2$$a|b|c}", "{-2$$a|b|c}", "{2-$$a|b|c}", "{3-1$$a|b|c}", "{0-1$$a|b}", "{0$$a|b}", "{9$$a|b}",
    "{2$$, $$x{1|2}|y|z}", "{2$$|$$a|b}", "{2$$$$a|b}", "{2$$a|a}", "{2$$a|a|b}", "{1-3$$ / $$a|b|c}", "{2 $$a|b}", "{ 2$$a|b}",
    "{a|{b|c}}", "{a|{b|{c|d}}}", "{2$${a|b}|{c|d}|e}", "{{a|b}|{a|b}}", "{2$${a|b}|{a|b}}", "{2$$-$${a|b}{1|2}|c}",
    "{!a|b}", "{~a|b}", "{@a|b}", "{@a|b|c} {@a|b}", "{@2$$a|b|c}", "{@{1|2}|b}", "{@a|{x|y}}", "{!a|b} {~c|d|e}", "{~a|b} {@c|d} {e|f}",
    "{~{!a|b}|c}", "{@{~a|b}|c|d}", "{@0-2$$a|b}", "{~a|b} {~a|b}", "{@a|b} {@a|b} {x|y}", "{!{@a|b|c}|d}", "{@x} y", "{@2$$-$${!a|b}|c|d}",
    "__colour__", "a __colour__ cat", "__colours/warm__", "__colours/*__", "__warm__", "__*__", "__c*__", "__colou?__", "__colo[tu]r__", "__colo[!u]r__",
    "__missing__", "a __missing__ b", "__/colour/__", "__colours\\warm__", "__../colour__", "__..__", "__secret__", "__.hidden/secret__", "__/__",
    "__nested__", "__animal__", "__animal(x=huge)__", "__animal(x={tiny|wee}, y=z)__", "__animal( x = a b )__", "__animal(x=)__", "__animal (x=2)__",
    "__~colour__", "__!colour__", "__@colour__", "__@colour__ {a|b}", "{__colour__}", "{2$$__colour__}", "{2$$ and $$__colour__}", "{1-9$$__colours/*__}",
    "{__colour__|__colours/warm__}", "{2$$__colour__|__colours/warm__}", "{@__colour__}", "{__missing__}", "{2$$__missing__}", "{~__colour__}", "{!__colour__}",
    "__pantry/clothes__", "__clothes__", "{2$$__clothes__}", "__food/hot__", "__food/*__", "__food/none__", "__bad__", "__number__", "__1__", "__food/cold__",
    "__v1/list__", "__v1.5/list__", "__list__", "__v1/shape__", "__shape__", "__deep/er__", "__deep/*__", "__odd__", "__@clothes__", "__@shape__",
    "__{colour|colours/warm}__", "__col{our|ours/cold}__", "__${c:colour}__", "${c=colour}__${c}__", "__colours/${t: warm }__", "__${colour}__", "__${c:{a|b}}__",
    "${x=a}${x}", "${x=a} ${x} ${x}", "${x={a|b}} ${x} ${x}", "${x=!{a|b}} ${x} ${x}", "${x=!{a|b|c}}{${x}|d}", "${x} y", "${x:d}", "${x:{a|b}}", "${x:}", "${x=}${x}",
    "${x=a}", "${x=a}${x=b}${x}", "${x=a}${x?=b}${x}", "${x?=b}${x}", "${ x = a } ${ x }", "${x=${y:q}}${x}", "${x=${x}}${x}", "${y=1}${x=!${y}}${x}",
    "${x=__colour__}${x} ${x}", "${x=!__colour__}${x} ${x}", "${animal=!__colour__}${animal} __animal(x=${animal})__", "${1x=a}b", "${x=a|b}${x}", "{${x=a}|b}",
    "%{a ... b$$c}", "%{a ... b$$c|d}", "%{a … b$${c|d}}", "%{{x|y} ... z$${c|d}}", "%{a$$b}", "%{....$$b}", "%{a ..$$b}", "%{$$b}", "%{a...b...c$$ d }", "%{... and ⋯$$x}",
    "{@%{a...$$b}|c}", "{%{a...$$b}|c}", "%{__colour__ ...$$cat}", "%{a...$$}",
    "a # comment\nb", "a // no comment\nb", "// comment\nb", "a /* no comment */ b", "/* comment */b", "# only", "a{b|c} # end", "a{b # x\n|c}", "a{b|/* x */c}", "a\n#c\n\nb", "#a\n#b\nc",
    "{a|b}// end", "a {b|c}  /* x */ d", "{1-/* x */2$$a|b|c}", "__colour/*x*/__", "https://x.y/z {a|b}", "{//a\nb|c}",
    "50% off", "$5", "a}b", "a|b", "a$b", "{a$b|c}", "a%{", "{a", "a}", "{a|b", "a{b}c}", "${", "${x", "__a", "a__b", "a _b_ c", "___colour___", "__colour____colour__", "____", "{a|b}}",
    "(a:1.2) [b:c:0.5] <lora:x:1>", "{(a:1.2)|[b]}", "a\tb", "\ta\t{b\t|c}", "  a  {b|c}  ", "日本 {猫|犬}", "é", "a\r\nb {c|d}", "{a,|b,}", "{2$$,$$a,|,b|c}", "a, {b|c}, d",
    "{2$$ & $$a|b} {1|2}", "{10-20$$a|b|c}", "{99999999999999999999$$a|b}", "{a|b}{c|d}{e|f}", "{a|b} __colour__ {c|__colours/warm__}", "{2::__colour__|x}", "{~2$$a|b|c|d|e}",
    "{1.5.2::a|b}", "{1:: a|b}", "{1 ::a|b}", "{a::b|c}", "{1::2::a|b}", "{0x1::a|b}", "{1e3::a|b}",
]
OPTIONS = [
    ({"ignore_whitespace": True}, ["  a \n\n {b|  c } __colour__  ", "__nested__   x", "\ta  # c\n b"]),
    ({"syntax": ["<", ">", "**"]}, ["<a|b> {c|d}", "a **colour** <2$$x|y>", "__colour__ <a", "**col*our**"]),
    ({"no_sort": True}, ["__colour__", "__food/hot__", "__clothes__"]),
    ({"no_dedup": True, "no_sort": True}, ["__colour__", "{2$$__colour__}"]),
    ({"no_dedup": True}, ["__colour__"]),
]
SEEDS = [[0], [1, 2, 3, 4, 5, 6], [42, 42, 42], [4294967293, 4294967294, 4294967296, 7]]
LIMIT = 40


def run(kind, template, options, seeds, queue):
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    manager = WildcardManager(os.path.join(here, "wildcards"))
    manager.sort_wildcards = not options.get("no_sort")
    manager.dedup_wildcards = not options.get("no_dedup")
    start, end, wrap = options.get("syntax", ["{", "}", "__"])
    rest = dict(
        wildcard_manager=manager,
        ignore_whitespace=options.get("ignore_whitespace", False),
        parser_config=ParserConfig(variant_start=start, variant_end=end, wildcard_wrap=wrap),
    )
    try:
        if kind == "random":
            want = RandomPromptGenerator(seed=0, **rest).generate(template, len(seeds), seeds=seeds)
        else:
            generator = CombinatorialPromptGenerator(**rest)
            object.__setattr__(generator._context, "rand", random.Random(seeds[0]))
            want = generator.generate(template, LIMIT)
    except BaseException as err:  # noqa: BLE001
        want = "error: " + type(err).__name__
    queue.put(want)


def case(kind, template, options, seeds):
    queue = multiprocessing.Queue()
    p = multiprocessing.Process(target=run, args=(kind, template, options, seeds, queue))
    p.start()
    try:
        want = queue.get(timeout=5)
    except Exception:  # noqa: BLE001
        want = "error: does not end"
    p.kill()
    return {"kind": kind, "template": template, **options, "seeds": seeds, "want": want}


def invented(n):
    """Random templates of the language's own pieces."""
    r = random.Random(20)
    pieces = ["{", "}", "{", "}", "|", "|", "$$", "2$$", "1-2$$", "__", "__colour__", "__animal__", "__clothes__", "${x=", "${x}", "${x:", "=!", "%{", "...", "::", "0.5::", "2::",
              "a", "b", "c", " ", " ", ",", "#", "\n", "//", "/*", "*/", "!", "~", "@", "(x=", ")"]
    def node(depth):
        k = r.randrange(10)
        if depth <= 0 or k < 3:
            return r.choice(["a", "b", "c d", "x, ", " ", "y"])
        if k < 6:
            how = r.choice(["", "", "", "", "~", "!", "@"])
            bound = r.choice(["", "", "2$$", "1-2$$", "0-1$$", "2$$ & $$", "-2$$"])
            return "{" + how + bound + "|".join(r.choice(["", "", "2::", "0.3::"]) + node(depth - 1) for _ in range(r.randrange(1, 5))) + "}"
        if k == 6:
            return "__" + r.choice(["", "~", "@", "!"]) + r.choice(["colour", "animal(x=%s)" % node(0), "clothes", "nested", "col*", "missing", "shape"]) + "__"
        if k == 7:
            return r.choice(["${x}", "${x:%s}" % node(depth - 1), "${y:q}"])
        if k == 8:
            return "%{" + node(depth - 1) + "..." + node(depth - 1) + "$$" + node(depth - 1) + "}"
        return node(depth - 1) + node(depth - 1)
    for i in range(n):
        if i % 3 == 0:
            yield "".join(r.choice(pieces) for _ in range(r.randrange(2, 14)))
        else:
            head = r.choice(["", "", "${x=%s}" % node(1), "${x=!%s}" % node(2)])
            yield head + "".join(node(3) for _ in range(r.randrange(1, 4)))


def jobs():
    for t in TEMPLATES:
        for seeds in SEEDS[:3]:
            yield "random", t, {}, seeds
        yield "combinatorial", t, {}, [5]
    for options, templates in OPTIONS:
        for t in templates:
            yield "random", t, options, SEEDS[3]
            yield "combinatorial", t, options, [5]
    for t in invented(int(sys.argv[1]) if len(sys.argv) > 1 else 150):
        yield "random", t, {}, SEEDS[1]
        yield "combinatorial", t, {}, [5]


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    cases = [case(*j) for j in jobs()]
    about = "Templates, and the prompts that dynamicprompts 0.31.0 makes of them (CPython 3.11): one for each seed, or all combinations up to 40. An error is a text with the class of the exception."
    with open(os.path.join(here, "recorded.json") if len(sys.argv) < 3 else sys.argv[2], "w") as f:
        f.write('{"about": ' + json.dumps(about) + ', "cases": [\n')
        f.write(",\n".join(json.dumps(c, ensure_ascii=False) for c in cases))
        f.write("\n]}\n")
