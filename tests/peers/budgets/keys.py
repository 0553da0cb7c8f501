"""Keys of a LiteLLM proxy without a database (`custom_auth`): a key `sk-USER-…` is that of a user of team `platform`, `sk-app` an application's."""
from litellm.proxy._types import UserAPIKeyAuth


async def of(request, api_key):
    name = api_key.split("-")[1]
    return UserAPIKeyAuth(api_key=api_key, user_id=None if name == "app" else f"{name}@corp.example", team_id="platform",
                          metadata={"tollgate": {"feature": "chat"}})
