"""DSPy under OpenInference."""
from base import MODEL, PLAN, burn, lookup, planned, providers

end = providers()
from openinference.instrumentation.dspy import DSPyInstrumentor  # noqa: E402

DSPyInstrumentor().instrument()
import dspy  # noqa: E402

lm = dspy.LM(f"openai/{MODEL}", cache=False, num_retries=0, max_tokens=20000, temperature=1.0)
dspy.configure(lm=lm)


class Ask(dspy.Signature):
    question: str = dspy.InputField(desc="a question")
    answer: str = dspy.OutputField(desc="an answer")


Ask.__doc__ = PLAN["system"]
for _ in range(1):
    dspy.ChainOfThought(Ask)(question=PLAN["stream_prompt"])
planned(dspy.Predict(Ask), question=PLAN["echo_prompt"])
end()
