"""Keys, tokens and passwords by the plugins of detect-secrets (Yelp, Apache-2.0): forms that providers give them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

from charter.data.curation.curation_records import DetectedSpan
from charter.errors import EngineError

SECRET_KIND = "SECRET"
MIN_SECRET_LENGTH = 4
"""Characters from which what stands in quotes after a word such as `password` is a secret."""
_PLUGINS = {
    **{"artifactory": "ArtifactoryDetector", "aws": "AWSKeyDetector", "azure_storage_key": "AzureStorageKeyDetector"},
    **{"basic_auth": "BasicAuthDetector", "cloudant": "CloudantDetector", "discord": "DiscordBotTokenDetector"},
    **{"github_token": "GitHubTokenDetector", "gitlab_token": "GitLabTokenDetector", "jwt": "JwtTokenDetector"},
    **{"ibm_cloud_iam": "IbmCloudIamDetector", "ibm_cos_hmac": "IbmCosHmacDetector", "keyword": "KeywordDetector"},
    **{"mailchimp": "MailchimpDetector", "npm": "NpmDetector", "openai": "OpenAIDetector"},
    **{"private_key": "PrivateKeyDetector", "pypi_token": "PypiTokenDetector", "sendgrid": "SendGridDetector"},
    **{"slack": "SlackDetector", "softlayer": "SoftlayerDetector", "square_oauth": "SquareOAuthDetector"},
    **{"stripe": "StripeDetector", "telegram_token": "TelegramBotTokenDetector", "twilio": "TwilioKeyDetector"},
}
"""Without the detectors of high entropy, which take many ordinary strings for secrets."""
_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z0-9 ]*KEY[A-Z ]*-----|\Z)", re.S
)


class SecretDetector:
    """Finds keys, tokens and passwords; asks no service whether they are valid. Raises EngineError where the extra is
    not installed."""

    @property
    def identity(self) -> str:
        """Library and version."""
        return f"detect-secrets {version('detect-secrets')}: {len(_PLUGINS)} plugins"

    def find(self, text: str) -> Sequence[DetectedSpan]:
        """Every place; of a private key the whole block, which a plugin knows by its first line."""
        spans = [DetectedSpan(SECRET_KIND, m.start(), m.end()) for m in _KEY_BLOCK.finditer(text)]
        start = 0
        for line in text.splitlines(keepends=True):
            spans += (DetectedSpan(SECRET_KIND, start + at, start + end) for at, end in self._find_in_line(line))
            start += len(line)
        return spans

    def _find_in_line(self, line: str) -> Iterator[tuple[int, int]]:
        """Of a plugin of patterns all that they match, for what it gives itself may be a part of the secret; of what
        stands after a word such as `password`, the place alone."""
        plugins, named = self._plugins
        for pattern in (p for plugin in plugins for p in plugin.denylist):
            for match in pattern.finditer(line):
                held = match.group().strip(" \t\r\n\"'=:")
                at = line.index(held, match.start()) if held else 0
                yield at, at + len(held)
        for pattern, group in named.items():
            yield from (
                m.span(group) for m in pattern.finditer(line) if len(m.group(group).strip()) >= MIN_SECRET_LENGTH
            )

    @cached_property
    def _plugins(self) -> tuple[list[Any], dict[re.Pattern[str], int]]:
        """The plugins of patterns, and what knows a secret by the word before it: patterns, each with its group."""
        from importlib import import_module

        try:
            rooms = {name: import_module(f"detect_secrets.plugins.{name}") for name in _PLUGINS}
        except ModuleNotFoundError as error:
            what = f"Masking needs a package that is not installed: {error.name}."
            raise EngineError(what, "pip install 'charter[curate]', or leave masking out.") from error
        made = [getattr(rooms[name], plugin)() for name, plugin in _PLUGINS.items()]
        named: dict[re.Pattern[str], int] = rooms["keyword"].QUOTES_REQUIRED_DENYLIST_REGEX_TO_GROUP
        return [plugin for plugin in made if hasattr(plugin, "denylist")], named
