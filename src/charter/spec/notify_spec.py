"""Who is told of what happens in a run. Nobody, unless it is set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from charter.records.record import Record

NoticeKind = Literal["undecided", "paused", "failed", "gate failed", "drift", "finished"]


class EmailSpec(Record):
    """A mail by SMTP. User and password come from the environment."""

    to: tuple[str, ...] = Field(min_length=1, description="Addresses.")
    sender: str = Field(min_length=1, description="Address that it comes from.")
    host: str = Field("127.0.0.1", description="The mail server.")
    port: int = Field(25, ge=1, le=65535, description="Its port.")
    tls: bool = Field(False, description="True begins TLS before anything is said (STARTTLS).")
    user_env: str = Field("", description="Environment variable that holds the user's name. Empty: no login.")
    password_env: str = Field("", description="Environment variable that holds the password.")


class NotifySpec(Record):
    """Notices of a run: by webhook, mail or a command of your own. A notice that cannot be given stops no run."""

    about: tuple[NoticeKind, ...] = Field(
        ("undecided", "paused", "failed", "gate failed", "drift"),
        description="What is told: rules wait for people, the run paused or failed, a policy failed its gates, an "
        "audit found drift, the run `finished`.",
    )
    webhook: str = Field(
        "",
        pattern=r"^(https?://\S+|env:\w+)?$",
        description="URL that is sent each notice as JSON; `env:NAME` takes it from the environment. Empty: none.",
    )
    secret_env: str = Field(
        "CHARTER_WEBHOOK_SECRET",
        description="Environment variable with the secret that signs the webhook (`X-Charter-Signature`, HMAC-SHA256).",
    )
    command: tuple[str, ...] = Field(
        (), description="Program and arguments; it reads each notice as JSON on its input. Empty: none."
    )
    email: EmailSpec | None = Field(None, description="Mail by SMTP. Null: none.")

    @property
    def is_on(self) -> bool:
        """Whether anybody is told anything."""
        return bool(self.webhook or self.command or self.email is not None)
