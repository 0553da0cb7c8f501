"""Labelled texts that no rule was tuned on, made from the public data that install.sh fetches.

A set is a list of `Text`. Every text belongs to the half `dev` (to look at) or `held` (only its figures are printed),
by a hash of the value that it was made from. All seeds are fixed; `SETS` states what each set must contain.
"""
import ast
import base64
import collections
import datetime
import hashlib
import json
import pathlib
import random
import re
import sys
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parents[2]
TEMPLATES = json.loads((HERE / "templates.json").read_text(encoding="utf-8"))
LOCALES = "en_US en_GB en_IN de_DE de_CH fr_FR es_ES es_MX it_IT nl_NL pl_PL sv_SE da_DK fi_FI cs_CZ pt_BR tr_TR ro_RO".split()
WORDS = "anchor basalt candle dolphin ember falcon garnet hollow igloo jasper kettle lagoon marble nectar orchard pebble".split()


@dataclass
class Text:
    """A text, its labels as (start, end, type), and what it was made from. Type `-`: may be replaced, need not be."""
    key: str
    text: str
    labels: list = field(default_factory=list)
    near_miss: bool = False

    @property
    def half(self):
        return "held" if hashlib.sha256(self.key.encode()).digest()[0] & 1 else "dev"


def number(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def sample(items, count):
    """A fixed choice of different strings."""
    return sorted(sorted(set(items), key=number)[:count])


def fill(template, values):
    """A template of templates.json with its values, and their labels."""
    text, labels, end = "", [], 0
    for found in re.finditer(r"\{(-?)([A-Z_]+)(?::([a-z0-9]+))?\}", template):
        value = values[found[3] or found[2]]
        text += template[end:found.start()]
        labels.append((len(text), len(text) + len(value), "-" if found[1] else found[2]))
        text, end = text + value, found.end()
    return text + template[end:], labels


def filled(kind, at, values, key):
    templates = TEMPLATES[kind]
    return Text(key, *fill(templates[at % len(templates)], values))


def unpacked(packages, name):
    found = sorted((packages / "packages").glob(f"{name}-[0-9]*/"))
    if len(found) != 1:
        raise SystemExit(f"sets: {name} is not installed below {packages}: run install.sh")
    return found[0]


def imported(packages, name):
    sys.path.insert(0, str(unpacked(packages, name)))
    return __import__(name)


def json_lines(path):
    return map(json.loads, path.read_text(encoding="utf-8").splitlines())


# What gitleaks' rules report but is no secret, or more than one: ids, placeholders, lines of a manifest with their keys.
NO_SECRET = re.compile(r"(client|access)-id|^<.*>$|^\$\{?\w+\}?$|^[\w.'\"-]+\s*:\s")
# Rules whose names say nothing of their values, or whose findings are more than a value.
UNNAMED = re.compile(NO_SECRET.pattern + "|curl|base64|sensitive-url|generic|private-key")
# Private, whatever the scanner thinks: addresses, what curl's `-u` takes, whole keys that it allows by name.
PRIVATE_ANYWAY = re.compile(r"\w@\w+\.\w|curl .*(-u|--user) |^AIza[\w-]{35}$")


def scanner_secrets(packages):
    """At most 24 examples of one rule, so that no rule decides."""
    kept = collections.Counter()
    for line in sorted(json_lines(packages / "gitleaks.jsonl"), key=lambda line: number(line["text"])):
        secrets = [secret for secret in {*line["secrets"]} - {""} if not NO_SECRET.search(line["rule"]) and not NO_SECRET.search(secret)]
        labels = sorted((at.start(), at.end(), "SECRET") for secret in secrets for at in re.finditer(re.escape(secret), line["text"]))
        if labels and kept[line["rule"]] < 24:
            kept[line["rule"]] += 1
            # several notations of one generated value belong to one half
            yield Text(line["text"][labels[0][0]:labels[0][1]], line["text"], labels)


def named_secrets(packages):
    """Up to five values of each of gitleaks' rules, in two of our notations, with the rule's name."""
    values = collections.defaultdict(dict)
    for case in json_lines(packages / "gitleaks.jsonl"):
        for secret in case["secrets"]:
            if not UNNAMED.search(case["rule"]) and not NO_SECRET.search(secret) and re.fullmatch(r"[^\s\"]{8,400}", secret):
                values[case["rule"]][secret] = number(secret)
    for rule, secrets in sorted(values.items()):
        for at, secret in enumerate(sorted(secrets, key=secrets.get)[:5]):
            for turn in range(2):
                template = TEMPLATES["named_secrets"][(number(rule) + 2 * at + turn) % len(TEMPLATES["named_secrets"])]
                template = template.replace("<name>", rule.replace("-", " ")).replace("<key>", rule.replace("-", "_"))
                yield Text(secret, *fill(template, {"SECRET": secret}))


def scanner_look_alikes(packages):
    for line in json_lines(packages / "gitleaks.jsonl"):
        if not line["secrets"] and not PRIVATE_ANYWAY.search(line["text"]):
            yield Text(line["text"], line["text"], near_miss=True)


def stated_secrets(_):
    """Passwords and keys in our own notations of configuration, code, commands and prose."""
    rng, letters = random.Random(7), "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    makers = (
        lambda: "".join(rng.choices(letters, k=rng.randint(9, 14))) + rng.choice("!#%*+-=?@_.") + str(rng.randint(0, 99)),
        lambda: f"{rng.choice(WORDS).title()}{rng.choice(WORDS)}{rng.randint(1, 999)}{rng.choice('!?#')}",
        lambda: f"{rng.getrandbits(128):032x}",
        lambda: "".join(rng.choices(letters, k=40)),
    )
    count = len(TEMPLATES["secrets"])
    for at in range(count * 14):
        value = makers[(at + at // count) % len(makers)]()
        yield filled("secrets", at, {"SECRET": value}, value)


SYNTHETIC = {"PERSON": "PERSON", "STREET_ADDRESS": "ADDRESS", "CREDIT_CARD": "CREDIT_CARD", "PHONE_NUMBER": "PHONE", "EMAIL_ADDRESS": "EMAIL",
             "IBAN_CODE": "IBAN", "US_SSN": "SSN", "IP_ADDRESS": "IP_ADDRESS", "US_DRIVER_LICENSE": "DRIVER_LICENSE"}


def is_plausible(kind, value):
    """Addresses without a street, cards without a valid number and initials are wrong labels of a generator."""
    digits = [int(char) for char in value if char.isdigit()]
    if kind == "CREDIT_CARD" and len(digits) > 4:
        doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
        return len(digits) >= 13 and (sum(doubled) + sum(digits[-1::-2])) % 10 == 0
    return kind not in ("ADDRESS", "PERSON") or sum(map(str.isalpha, value)) > 2 - (kind == "PERSON")


def plausible(text):
    text.labels = [(start, end, kind if is_plausible(kind, text.text[start:end]) else "-") for start, end, kind in text.labels]
    return text


def synthetic_texts(packages):
    """presidio-evaluator's labelled sentences; organisations are no private data, its other types may be replaced."""
    path = unpacked(packages, "presidio_evaluator") / "data/synth_dataset_v2.json"
    for case in json.loads(path.read_text(encoding="utf-8")):
        text, spans = case["full_text"], [(span["start_position"], span["end_position"], span) for span in case["spans"]]
        if all(text[start:end] == span["entity_value"] for start, end, span in spans):
            labels = sorted((start, end, SYNTHETIC.get(span["entity_type"], "-")) for start, end, span in spans
                            if span["entity_type"] != "ORGANIZATION")
            yield plausible(Text(text, text, labels, near_miss=not spans))


def generated_people(packages):
    """Faker's people of many countries, each in some records, logs, mails and chats."""
    faker = imported(packages, "faker")
    for where, locale in enumerate(LOCALES):
        # dates and most countries' ids of Faker depend on the day
        source, ids = faker.Faker(locale), faker.Faker(("en_US", "nl_NL", "pt_BR", "en_GB")[where % 4])
        source.seed_instance(20261130 + where)
        ids.seed_instance(20261130 + where)
        for at in range(36):
            name = f"{source.first_name()} {source.last_name()}"
            street, *rest = source.address().split("\n")
            values = {
                "PERSON": name, "first": name.split(" ")[0], "last": name.split(" ", 1)[1], "PHONE": source.phone_number(),
                "EMAIL": source.free_email(), "CREDIT_CARD": source.credit_card_number(), "IBAN": source.iban(),
                "DATE_OF_BIRTH": str(datetime.date(1940 + number(f"{locale} {at}") % 66, at % 12 + 1, at % 28 + 1)),
                "IP_ADDRESS": source.ipv4_public(), "MAC_ADDRESS": source.mac_address(), "ADDRESS": ", ".join([street, *rest]),
                "street": street, "city": source.city(), "NATIONAL_ID": ids.ssn(), "ipv6": source.ipv6(),
                "cvv": source.credit_card_security_code(),
            }
            for turn in range(2):
                yield plausible(filled("records", at * 2 + turn + where, values, name))


def rare_kinds(packages):
    """Kinds that the other sets lack, behind their words and keys: special categories, vehicles, banks, wallets, hashes."""
    faker, rng = imported(packages, "faker"), random.Random(13)
    sources = {locale: faker.Faker(locale) for locale in ("en_US", "zh_CN", "ja_JP")}
    for source in sources.values():
        source.seed_instance(13)
    source, letters = sources["en_US"], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

    def random_text(*sizes):
        return ".".join("".join(rng.choices(letters, k=size)) for size in sizes)
    for at in range(len(TEMPLATES["rare_kinds"]) * 6):
        values = {name: rng.choice(choices) for name, choices in TEMPLATES["rare_values"].items()} | {
            "hex": f"{rng.getrandbits(128):032x}", "token": random_text(44), "discord": "M" + random_text(23, 6, 27), "bcrypt": random_text(53),
            "crypt": random_text(86), "sendgrid": random_text(22, 43), "uuid": source.uuid4(), "swift": source.swift(length=8), "aba": source.aba(),
            "seed": " ".join(rng.sample(TEMPLATES["rare_values"]["seed"], 12)), "password": f"{rng.choice(WORDS)}{rng.randint(10, 999)}",
            "expiry": f"{rng.randint(1, 12):02}/{rng.randint(27, 33)}", "digits": str(rng.randint(10**7, 10**10)), "vin": source.vin(),
            "plate": source.license_plate(), "passport": source.passport_number(), "first": source.first_name(), "card": source.credit_card_number(),
            "street": source.street_address(), "chinese": sources["zh_CN"].name(), "japanese": sources["ja_JP"].name()}
        yield filled("rare_kinds", at, values, f"{at}")


def example_phones(packages):
    phones = imported(packages, "phonenumbers")
    forms = (phones.PhoneNumberFormat.INTERNATIONAL, phones.PhoneNumberFormat.NATIONAL, phones.PhoneNumberFormat.E164)
    for at, region in enumerate(sorted(phones.SUPPORTED_REGIONS)):
        for kind in (phones.PhoneNumberType.FIXED_LINE, phones.PhoneNumberType.MOBILE):
            example = phones.example_number_for_type(region, kind)
            if example is None:
                continue
            # other digits than the published example's, if they are valid
            national = str(example.national_number)
            other = phones.parse(f"+{example.country_code}{national[:-4]}{number(region + national) % 9000 + 1000}")
            example = other if phones.is_valid_number(other) else example
            value = phones.format_number(example, forms[(at + kind) % 3])
            # a few digits alone are no phone outside of their town
            if sum(map(str.isdigit, value)) < 7:
                value = phones.format_number(example, forms[0])
            yield filled("phones", at * 2 + kind, {"PHONE": value}, value)


def doctest_values(packages, module):
    """Numbers that `validate` and `format` take in the examples of a module of python-stdnum."""
    source = (unpacked(packages, "python_stdnum") / f"stdnum/{module}.py").read_text(encoding="utf-8")
    examples = re.findall(r">>> (?:validate|format)\(('[^'\n]+')\)[^\n]*\n(?!Traceback)('[^'\n]+')", source)
    return sorted({ast.literal_eval(value) for pair in examples for value in pair})


def country_ids(packages):
    """Persons' numbers: ids, tax, social and health insurance, behind their local names."""
    for module, cue in TEMPLATES["country_ids"].items():
        key = cue.lower().replace(" ", "_")
        for value in doctest_values(packages, module):
            for template in (f"The applicant's {cue} is {{ID}}, checked yesterday.", f'{{"{key}": "{{ID}}", "verified": true}}', f"{cue}: {{ID}}"):
                yield Text(f"{module} {value}", *fill(template, {"ID": value}))


def product_numbers(packages):
    """Numbers that name things: books, articles, securities, vessels, substances."""
    for module, cue in TEMPLATES["product_numbers"].items():
        for value in doctest_values(packages, module):
            for text in (f"{cue} {value} is out of stock", json.dumps({cue.lower(): value, "quantity": 3})):
                yield Text(value, text, near_miss=True)


def labelled_names(packages):
    """probablepeople's labelled persons with first and last name, in sentences and records."""
    names = []
    for name in xml.parse(unpacked(packages, "probablepeople") / "name_data/labeled/person_labeled.xml").getroot():
        tags, parts = [part.tag for part in name], [(part.text or "").strip(" ,") for part in name]
        if tags in (["GivenName", "Surname"], ["GivenName", "MiddleInitial", "Surname"]) and not parts[0].isupper():
            names.append(" ".join(parts))
    return (filled("names", at, {"PERSON": name}, name) for at, name in enumerate(sample(names, 600)))


def labelled_addresses(packages):
    """usaddress' labelled addresses with number, street and place or code, in sentences and records."""
    found = []
    for file in ("labeled.xml", "us50_messiest_manual_label.xml", "us50_train_tagged.xml"):
        for address in xml.parse(unpacked(packages, "usaddress") / "training" / file).getroot():
            tags = {part.tag for part in address}
            if {"AddressNumber", "StreetName"} <= tags and tags & {"PlaceName", "ZipCode"} and "Recipient" not in tags:
                found.append(re.sub(r"\s+", " ", "".join(address.itertext())).strip(" ,."))
    return (filled("addresses", at, {"ADDRESS": address}, address) for at, address in enumerate(sample(found, 500)))


ENCODINGS = {
    "percent": lambda value: "".join(f"%{byte:02X}" for byte in value.encode()),
    "percent twice": lambda value: "".join(f"%25{byte:02X}" for byte in value.encode()),
    "html decimal": lambda value: "".join(f"&#{ord(char)};" for char in value),
    "html hex": lambda value: "".join(f"&#x{ord(char):x};" for char in value),
    "unicode escapes": lambda value: "".join(f"\\u{ord(char):04x}" for char in value),
    "byte escapes": lambda value: "".join(f"\\x{byte:02x}" for byte in value.encode()),
    "zero width": "\u200b".join,
    "soft hyphens": "\u00ad".join,
    "full width": lambda value: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in value),
    "quoted-printable": lambda value: "".join(f"={byte:02X}" for byte in value.encode()),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 for urls": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    "hex": lambda value: value.encode().hex(),
}
WHOLE = ("base64", "base64 for urls", "hex")
EVASIVE = {"EMAIL", "CREDIT_CARD", "IBAN", "PHONE", "SECRET"}


def coded_values(packages):
    """A share of the structured and secret values, in place of the plain ones; whole encodings from 16 bytes on."""
    plain = [case for make in (generated_people, scanner_secrets) for case in make(packages)]
    chosen = sorted((case for case in plain if any(kind in EVASIVE for *_, kind in case.labels)), key=lambda case: number(case.text))
    for at, case in enumerate(chosen[:1300]):
        name = list(ENCODINGS)[at % len(ENCODINGS)]
        text, labels, end = "", [], 0
        for start, stop, kind in case.labels:
            value = case.text[start:stop]
            is_coded = kind in EVASIVE and len(value) < 200 and (name not in WHOLE or len(value.encode()) >= 16)
            text, value = text + case.text[end:start], ENCODINGS[name](value) if is_coded else value
            labels.append((len(text), len(text) + len(value), kind if is_coded else "-"))
            text, end = text + value, stop
        if any(kind != "-" for *_, kind in labels):
            yield Text(case.key, text + case.text[end:], labels)


def ordinary_lines(_):
    """Log lines and records with ids, times, sizes, versions and hashes."""
    rng = random.Random(11)
    for at in range(len(TEMPLATES["ordinary"]) * 14):
        uuid, trace, git, sha = (f"{rng.getrandbits(bits):0{bits // 4}x}" for bits in (128, 128, 160, 256))
        values = {
            "UUID": f"{uuid[:8]}-{uuid[8:12]}-4{uuid[13:16]}-a{uuid[17:20]}-{uuid[20:]}", "TRACE": trace, "SPAN": trace[:16], "GIT": git, "SHA": sha,
            "N": str(rng.randint(2, 99999)), "BIG": str(rng.randint(10**9, 10**13)), "MS": f"{rng.random() * 900:.2f}",
            "V": f"{rng.randint(0, 9)}.{rng.randint(0, 40)}.{rng.randint(0, 99)}", "DOTTED": ".".join(str(rng.randint(0, 30)) for _ in range(4)),
            "TIME": f"2026-1{rng.randint(0, 2)}-{rng.randint(10, 28)}T0{rng.randint(0, 9)}:{rng.randint(10, 59)}:{rng.randint(10, 59)}Z",
            "EPOCH": str(rng.randint(1_700_000_000_000, 1_790_000_000_000)),
        }
        text = filled("ordinary", at, values, "").text
        yield Text(f"{at} {text}", text, near_miss=True)


def clean_service_logs(_):
    rows = json_lines(REPO / "tests/cases/service-logs.jsonl")
    return (Text(row["text"], row["text"], near_miss=True) for row in rows if not row["private"])


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128 or shift > 63:
            return value, at


def protobuf_strings(data, depth=0):
    """The texts of an encoded message, without its schema; None if the bytes are no message."""
    at, found = 0, []
    try:
        while at < len(data):
            tag, at = varint(data, at)
            kind = tag & 7
            if tag < 8 or kind not in (0, 1, 2, 5):
                return None
            size, at = ({1: 8, 5: 4}[kind], at) if kind in (1, 5) else varint(data, at)
            part, at = data[at:at + size * (kind != 0)], at + size * (kind != 0)
            if at > len(data):
                return None
            if kind == 2 and part:
                inner = protobuf_strings(part, depth + 1) if depth < 24 else None
                text = part.decode("utf-8", "ignore")
                found += [text] if inner is None and text.encode() == part else inner or []
    except IndexError:
        return None
    return found


# Canaries of recordings, and the examples of persons that their prompts name.
CANARY = re.compile(r"[0-9a-f]*CANARY[\w-]*|John Doe|[\w.]+@example\.com")
PERSONAL = re.compile(r"@[\w-]+\.|author|copyright|maintainer|©", re.IGNORECASE)


def with_canaries(text):
    return Text(text, text, [(found.start(), found.end(), "-") for found in CANARY.finditer(text)])


def recorded_texts(_):
    """Texts of recorded agents' requests; their canaries may be replaced."""
    files = (REPO / "tests/recordings").rglob("*.pb")
    return map(with_canaries, sorted({text for path in files for text in protobuf_strings(path.read_bytes()) or [] if len(text) >= 20}))


def error_texts(_):
    lines = (REPO / "tests/cases/error-texts.yaml").read_text(encoding="utf-8").splitlines()
    return (with_canaries(json.JSONDecoder().raw_decode(line[3:])[0]) for line in lines if line.startswith('- ["'))


def pieces_of_files(folders, *patterns):
    """Files in pieces of some 4 KB, without the lines that name authors; a fixed choice of them."""
    pieces = []
    for path in sorted(path for folder in folders for pattern in patterns for path in folder.rglob(pattern)):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines(True) if not PERSONAL.search(line)]
        pieces += ["".join(lines[at:at + 110]) for at in range(0, len(lines), 110)]
    return (Text(text, text) for text in sample(pieces, 240))


def code_of(pattern, names, folder="."):
    return lambda packages: pieces_of_files([unpacked(packages, name) / folder for name in names], *pattern)


@dataclass
class Set:
    """Who makes a set, the classes of types that it is labelled for (`*`: all of its labels are of that one class), how
    many texts and labels it must have at least, where it is from, and its digest (none for the repository's own)."""
    make: object
    classes: tuple
    texts: int
    labels: int
    source: str
    digest: str = ""


PEOPLE = ("structured", "names", "addresses")
SETS = {
    "scanner secrets": Set(scanner_secrets, ("secrets",), 4400, 4400, "gitleaks 8.30.1, MIT: its rules' true positives; the span is its own rule's finding", "96422b4207af"),
    "named secrets": Set(named_secrets, ("secrets",), 700, 700, "values of gitleaks 8.30.1, MIT, in our templates behind their names; the span is the value", "160f30c53e72"),
    "stated secrets": Set(stated_secrets, ("secrets",), 440, 440, "our templates, seeded values; the span is the value", "17303e0b4c09"),
    "synthetic sentences": Set(synthetic_texts, PEOPLE, 1390, 1600, "presidio-evaluator 0.3.2, MIT: synth_dataset_v2 with its own spans", "7635e3e81c4d"),
    "generated people": Set(generated_people, PEOPLE, 1290, 2900, "Faker 40.63.0, MIT, 18 locales in our templates; the span is the value", "2e249384210f"),
    "example phones": Set(example_phones, ("structured",), 480, 480, "phonenumbers 9.0.43, Apache-2.0: valid numbers of all regions in our templates", "fec3ef48b65d"),
    "labelled names": Set(labelled_names, ("names",), 375, 375, "probablepeople 0.5.6, MIT: persons with first and last name in our templates", "6924e93aa5cf"),
    "labelled addresses": Set(labelled_addresses, ("addresses",), 500, 500, "usaddress 0.5.16, MIT: US addresses in our templates", "5273daff4bd4"),
    "country ids": Set(country_ids, ("*ids",), 580, 580, "python-stdnum 2.2, LGPL-2.1: numbers that its doctests accept, behind their names", "b0b9edafb149"),
    "rare kinds": Set(rare_kinds, ("*rare",), 270, 270, "Faker 40.63.0, MIT, and seeded values in our templates: kinds that the other sets lack", "57d6a68ffa52"),
    "coded values": Set(coded_values, ("*evasion",), 1200, 1200, "`generated people` and `scanner secrets`, each value in one of 13 encodings", "1e6dafdbe889"),
    "scanner look-alikes": Set(scanner_look_alikes, (), 270, 0, "gitleaks 8.30.1, MIT: its rules' false positives in which no rule of it finds a secret", "e60e16f12c50"),
    "product numbers": Set(product_numbers, (), 100, 0, "python-stdnum 2.2, LGPL-2.1: numbers of books, goods, securities", "c6c14a6242b6"),
    "ordinary lines": Set(ordinary_lines, (), 400, 0, "our templates, seeded values", "5d2912ac3c4e"),
    "clean service logs": Set(clean_service_logs, (), 75, 0, "tests/cases/service-logs.jsonl, the rows without private data"),
    "recordings": Set(recorded_texts, (), 3000, 0, "tests/recordings, distinct texts of 20 characters and more"),
    "error texts": Set(error_texts, (), 50, 0, "tests/cases/error-texts.yaml"),
    "python code": Set(code_of(["*.py"], ("click", "flask", "httpx", "jinja2")), (), 240, 0, "click, Flask, HTTPX, Jinja2, BSD-3-Clause: sources and tests", "dfec402375fb"),
    "go code": Set(lambda packages: pieces_of_files([packages / "go"], "*.go"), (), 240, 0, "cobra, viper, zerolog, Apache-2.0 and MIT: sources and tests", "74cbd0644470"),
    "package docs": Set(code_of(["*.md", "*.rst"], ("click", "flask", "jinja2"), "docs"), (), 200, 0, "click, Flask, Jinja2, BSD-3-Clause: their documentation", "b89712268248"),
}
CORPORA = ("recordings", "error texts", "python code", "go code", "package docs")


def digest_of(texts):
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:12]


def check(name, texts):
    """What must hold for a set; a violation is an error, because its figures would mean nothing."""
    stated, labels = SETS[name], sum(kind != "-" for text in texts for *_, kind in text.labels)
    if len(texts) < max(stated.texts, 1) or labels < stated.labels:
        raise SystemExit(f"sets: {name} has {len(texts)} texts, {labels} labels; at least {stated.texts}, {stated.labels} are stated")
    for text in texts:
        end = 0
        for start, stop, _ in text.labels:
            if not end <= start < stop <= len(text.text) or not text.text[start:stop].strip():
                raise SystemExit(f"sets: {name}: a label is outside of its text, empty, or overlaps another: {start}..{stop}")
            end = stop
    if stated.digest not in ("", digest_of(texts)):
        raise SystemExit(f"sets: {name} is not the set of before: its digest is {digest_of(texts)}, {stated.digest} is stated")


def load(packages):
    """All sets by name, without the texts that occur twice in one."""
    sets = {}
    for name, stated in SETS.items():
        sets[name] = list({text.text: text for text in stated.make(packages)}.values())
        check(name, sets[name])
    return sets
