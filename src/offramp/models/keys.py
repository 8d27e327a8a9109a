"""Which environment variable holds the key of a provider, and whether it is set.

Only names of variables are handled here, never their values. A vendor's key is only ever sent to the vendor's own
address: a space file with its own `api_base` has to name the variable itself.

Invariant: `missing_key` names a variable only if no request could succeed without it.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from offramp.records import Model
from offramp.scrubbing import know_variable

PROVIDER_KEYS: dict[str, tuple[str, ...]] = {
    "ai21_chat": ("AI21_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "azure": ("AZURE_API_KEY", "AZURE_AD_TOKEN"),
    "azure_ai": ("AZURE_AI_API_KEY",),
    "baseten": ("BASETEN_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "codestral": ("CODESTRAL_API_KEY",),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY", "CO_API_KEY"),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "databricks": ("DATABRICKS_API_KEY",),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks_ai": ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "hyperbolic": ("HYPERBOLIC_API_KEY",),
    "lambda_ai": ("LAMBDA_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "moonshot": ("MOONSHOT_API_KEY",),
    "nebius": ("NEBIUS_API_KEY",),
    "novita": ("NOVITA_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "replicate": ("REPLICATE_API_KEY",),
    "sambanova": ("SAMBANOVA_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"),
    "vercel_ai_gateway": ("VERCEL_AI_GATEWAY_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "zai": ("ZAI_API_KEY",),
}
"""Any one of the variables is enough; the first is the one that messages name."""

AMBIENT_SIGNS: dict[str, tuple[str, ...]] = {
    "bedrock": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    "hosted_vllm": ("HOSTED_VLLM_API_BASE",),
    "lm_studio": ("LM_STUDIO_API_BASE",),
    "ollama": ("OLLAMA_API_BASE",),
    "ollama_chat": ("OLLAMA_API_BASE",),
    "sagemaker": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    "vertex_ai": ("GOOGLE_APPLICATION_CREDENTIALS", "VERTEXAI_PROJECT", "VERTEX_PROJECT"),
}
"""Credentials may come from the machine, or none are needed, so none is known to be missing; any of these is a sign."""

KEYLESS = frozenset({"local", "ollama", "ollama_chat", "lemonade", "lm_studio", "hosted_vllm", "llamafile"})
"""Servers of the user's own."""

_HOSTS: dict[str, tuple[str, ...]] = {
    "openai": (".openai.com",), "azure": (".azure.com",), "anthropic": (".anthropic.com",),
    "gemini": (".googleapis.com",), "mistral": (".mistral.ai",), "groq": (".groq.com",), "deepseek": (".deepseek.com",),
    "xai": (".x.ai",), "cohere": (".cohere.com", ".cohere.ai"), "together_ai": (".together.xyz", ".together.ai"),
    "fireworks_ai": (".fireworks.ai",), "openrouter": (".openrouter.ai",),
}  # fmt: skip
_VENDOR_HOSTS = tuple(host for hosts in _HOSTS.values() for host in hosts)
_MORE_HOSTS: dict[str, tuple[str, ...]] = {
    "azure_ai": (".azure.com",), "codestral": (".mistral.ai",), "cohere_chat": (".cohere.com", ".cohere.ai"),
    "dashscope": (".aliyuncs.com",), "databricks": (".azuredatabricks.net",), "lambda_ai": (".lambda.ai",),
    "vercel_ai_gateway": (".vercel.sh",), "zai": (".z.ai",), "replicate": (".replicate.com",),
}  # fmt: skip
_NOT_OF_MODELS = re.compile(
    r"^(AWS|GITHUB|GH|GITLAB|NPM|PYPI|TWINE|SLACK|STRIPE|DOCKER|VAULT|KUBE|SSH|PG|DATABASE|DB)_"
    r"|^(PGPASSWORD|DATABASE_URL|GOOGLE_APPLICATION_CREDENTIALS|HOME|PATH|USER)$"
)
"""Names of variables that hold secrets of other services, which no model needs as its key."""


def is_set(variable: str) -> bool:
    """Whether an environment variable has a value that is not empty."""
    return bool(os.environ.get(variable))


def has_key(provider: str) -> bool:
    """Whether the environment has credentials for this provider; for an unknown one, under the usual name."""
    usual = (provider.upper().replace("-", "_") + "_API_KEY",)
    return any(map(is_set, PROVIDER_KEYS.get(provider) or AMBIENT_SIGNS.get(provider) or usual))


def is_loopback(address: str | None) -> bool:
    """Whether an http address points at this machine."""
    host = (urlsplit(address or "").hostname or "").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def usual_key(provider: str, api_base: str | None) -> str | None:
    """Variable with the provider's key; None if none is needed or known, or if the address is not a vendor's.

    None also if only a less usual variable is set (a token in place of a key): LiteLLM knows how to use those.
    """
    names = PROVIDER_KEYS.get(provider)
    if not names:
        return None
    for name in names:
        know_variable(name)
    if api_base is not None:
        address = urlsplit(api_base)
        if address.scheme != "https" or not f".{address.hostname or ''}".lower().endswith(_VENDOR_HOSTS):
            return None
    return names[0] if is_set(names[0]) or not any(map(is_set, names)) else None


def strange_address(variable: str | None, route: str, api_base: str | None) -> str | None:
    """What is strange about sending a variable's value as the key of a model; None where nothing is.

    A provider's usual variable belongs to that provider, and some variables to no model at all. What is on this machine
    may have any key, and a variable with a name of your own may go anywhere.
    """
    if variable is None or (api_base is not None and is_loopback(api_base)):
        return None
    owners = [provider for provider, names in PROVIDER_KEYS.items() if variable in names]
    other_service = not owners and _NOT_OF_MODELS.search(variable) is not None
    if not owners and not other_service:
        return None
    provider = route.partition("/")[0] if "/" in route else "openai"
    address = urlsplit(api_base or "")
    to = address.hostname or provider
    if other_service:
        own = variable.startswith(("GITHUB_", "GH_")) and f".{to}".endswith((".github.ai", ".github.com"))
        own = own or (provider in ("bedrock", "sagemaker", "github") and api_base is None)
        return None if own else f"the value of {variable} would be sent to {to}, and it is not the key of a model"
    if api_base is None:
        near = any(owner in provider for owner in owners)
        return None if near else f"the key of {owners[0]} ({variable}) would be sent to {provider}"
    if address.scheme == "https" and any(_is_host_of(owner, address.hostname or "") for owner in owners):
        return None
    return f"the key of {owners[0]} ({variable}) would be sent to {address.scheme}://{address.hostname}"


def _is_host_of(provider: str, host: str) -> bool:
    """Whether an address is one of the provider's: by its known hosts, else by the name of its domain."""
    known = (*_HOSTS.get(provider, ()), *_MORE_HOSTS.get(provider, ()))
    if known:
        return f".{host}".lower().endswith(known)
    labels = host.lower().split(".")
    return len(labels) > 1 and labels[-2] == provider.removesuffix("_ai").removesuffix("_chat")


def missing_key(model: Model) -> str | None:
    """Environment variable without which this model cannot be called; None if nothing is missing."""
    if model.api_key_env is not None:
        return None if is_set(model.api_key_env) else model.api_key_env
    if model.api_base is not None or model.provider in KEYLESS or model.provider in AMBIENT_SIGNS:
        return None
    if names := PROVIDER_KEYS.get(model.provider):
        return None if any(map(is_set, names)) else names[0]
    from offramp.models.capabilities import SIGNED_IN_BY_DEVICE, quiet_litellm

    if model.provider in SIGNED_IN_BY_DEVICE:
        return None  # asking LiteLLM about these would start a login
    missing = quiet_litellm().validate_environment(model.route).get("missing_keys") or []
    return next((str(name) for name in missing if not is_set(name)), None)
