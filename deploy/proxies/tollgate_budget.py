"""Asks tollgate's budgets before each call of a LiteLLM proxy (docs/how-to/budgets-proxies.md).

Copy this file to the folder of the proxy's configuration, which then lists it: `callbacks: [tollgate_budget.budget]`.
Environment: TOLLGATE_BUDGET_TOKEN (required), and if the defaults do not fit TOLLGATE_BUDGET_URL,
TOLLGATE_BUDGET_TIMEOUT in seconds, and TOLLGATE_BUDGET_ON_FAILURE=deny to stop calls while tollgate gives no answer.
"""
import json
import os

import httpx
from fastapi import HTTPException
from litellm._logging import verbose_proxy_logger
from litellm.integrations.custom_logger import CustomLogger

URL = os.environ.get("TOLLGATE_BUDGET_URL", "http://127.0.0.1:4319/v1/budget")
HEADERS = {"authorization": f"Bearer {os.environ['TOLLGATE_BUDGET_TOKEN']}", "content-type": "application/json"}
TIMEOUT = float(os.environ.get("TOLLGATE_BUDGET_TIMEOUT", "0.25"))
ON_FAILURE = os.environ.get("TOLLGATE_BUDGET_ON_FAILURE", "allow")
if ON_FAILURE not in ("allow", "deny"):
    raise ValueError("TOLLGATE_BUDGET_ON_FAILURE must be allow or deny")


class Budget(CustomLogger):
    def __init__(self):
        super().__init__()
        self.client = httpx.AsyncClient(timeout=TIMEOUT, headers=HEADERS, trust_env=False)

    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        key = user_api_key_dict
        if key.user_id:
            # LiteLLM reports the user that the request's body names, but the spending is that of the key's user.
            data.pop("user", None)
            for metadata in (data.get("metadata"), data.get("litellm_metadata")):
                if isinstance(metadata, dict) and "user_api_key_end_user_id" in metadata:
                    metadata["user_api_key_end_user_id"] = None
        names = {
            "user": key.user_id or key.end_user_id,
            "tenant": key.team_id,
            "session": data.get("litellm_session_id"),
            **((key.team_metadata or {}).get("tollgate") or {}),
            **((key.metadata or {}).get("tollgate") or {}),
        }
        try:
            # not `json=…`: it fails at half a surrogate pair, so that a client could skip the question
            body = json.dumps({name: value for name, value in names.items() if value})
            response = await self.client.post(URL, content=body)
            if response.status_code in (400, 413):
                raise HTTPException(status_code=400, detail="The session, user or team of this call is no name.")
            response.raise_for_status()
            decision, reason = (response.json()[part] for part in ("decision", "reason"))
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            verbose_proxy_logger.warning("tollgate gave no answer (%s): %s", type(error).__name__, ON_FAILURE)
            decision, reason = ON_FAILURE, None
        if decision == "allow":
            return data
        # Clients retry 429 and 503, but no retry helps at the limit: 403.
        raise HTTPException(status_code=403 if reason else 503, detail=reason or "No answer from the budget server.")


budget = Budget()
