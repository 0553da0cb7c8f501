"""Names in one-sentence prose, for `tollgate redact --score`: each sentence with each of some names, and sentences without one.

Written for this measurement: no sentence and no name is taken from the lists or the examples of the rules, nor from another data set.
Names are those of many countries, a third of them only a first or a last name, as people write to each other.
"""
import json

SENTENCES = [
    "{} asked me to move the meeting to Thursday because the room is taken.",
    "I spoke with {} this morning and the contract is still unsigned.",
    "Yesterday {} forgot the keys at the front desk again.",
    "The complaint that {} filed in March was never answered.",
    "Could you check whether {} has already paid the second invoice?",
    "We are still waiting for {} to confirm the new delivery address.",
    "According to {}, the machine stopped twice during the night shift.",
    "Nobody told {} that the flight leaves an hour earlier.",
    "It was {} who noticed the wrong amount on the statement.",
    "After the interview {} decided to decline the offer.",
    "The refund goes to {} and not to the company.",
    "Please forward the scan to {} before the board meets.",
    "{} and the auditor disagreed about the closing balance.",
    "The doctor said that {} should come back in two weeks.",
    "There is a parcel for {} at the reception.",
    "Since the merger {} has been running the office alone.",
    "The agent wrote that {} wanted to cancel the policy.",
    "A long call with {} ended without any result.",
    "What did {} say about the overdraft?",
    "The loan officer rejected the request by {} last week.",
]
NAMES = [
    "Oyelaran Babatunde", "Xiomara Quispe", "Thorvald Nygaard", "Siobhan Keegan", "Priyanka Deshmukh", "Tomasz Wieczorek", "Aroha Parata", "Nguyen Thi Hoa",
    "Ekaterina Vlasova", "Haruto Kisaragi", "Wanjiru Kamau", "Llewelyn Prosser", "Farrukh Yusupov", "Maribel Zubizarreta", "Jean-Baptiste Lacroix", "Gudrun Eysteinsdottir",
    "Omar al-Rashidi", "Denise Whitcombe", "Kwabena Ofori-Atta", "Mirjana Stojkovic",
    "Ravindra", "Ottoline", "Vasquez", "Hutchings", "Bartosz", "Meredith", "Ngozi", "Lindqvist", "Takahashi", "Fitzwilliam",
]
CLEAN = [
    "The second invoice was paid twice and the difference was returned.", "Every night shift checks the pumps before the handover.",
    "The board meets on Thursday in the large room.", "Please restart the worker after the configuration was changed.",
    "The loan request was rejected because two documents were missing.", "A new policy starts on the first day of the month.",
    "The flight leaves an hour earlier than printed on the ticket.", "Nothing in the statement explains the overdraft.",
    "The model answered after three retries and used half of the budget.", "Tool calls of the planner failed with a timeout.",
]


def lines():
    yield {"meta": {"judged": ["PERSON"]}}
    number = 0
    for at, sentence in enumerate(SENTENCES):
        # ten names a sentence, others for the next one: 200 sentences, each name six or seven times
        for n in range(10):
            name = NAMES[(at * 10 + n) % len(NAMES)]
            start = sentence.index("{}")
            yield {"id": str(number), "group": "prose", "near_miss": False, "text": sentence.format(name), "spans": [{"start": start, "end": start + len(name), "type": "PERSON"}]}
            number += 1
    for text in CLEAN:
        yield {"id": str(number), "group": "prose without names", "near_miss": True, "text": text, "spans": []}
        number += 1


if __name__ == "__main__":
    for line in lines():
        print(json.dumps(line, ensure_ascii=False))
