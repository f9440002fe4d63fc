"""The error tree of both ends of the line.

SimVGLineError
├── SettingsError          a setting, flag or file is wrong: names the key, the value and the remedy
├── ContractError          a message or value breaks its contract
│   ├── BadFrameMessage    a message on `frames` that cannot be read as a frame
│   ├── BadAlertMessage    a message on `alerts` that cannot be read as an alert
│   ├── BadOperatorAction  a message on `operator-actions` that is none, or an action that cannot be carried out
│   ├── BadRejectedMessage no rejected message is where one was asked for
│   └── BadQuery           a standing query that cannot be accepted
├── UnknownAlert           no alert that is kept has an id, or begins so; or several do
├── RegistryError          the registry of standing queries
│   ├── RegistryUnavailable    Redis cannot be reached
│   ├── RegistryAccessDenied   Redis does not allow it to this user
│   ├── QueryNotFound      no query of that id
│   ├── QueryExists        an id that is taken
│   ├── RevisionConflict   somebody else changed the query first
│   ├── QuerySetChanged    somebody else changed another query, and the set was to be as it was
│   └── OverBudget         a query that costs more than a worker has time for
├── BrokerError            Kafka
│   ├── BrokerUnavailable  no broker answers
│   ├── CredentialsRefused the broker does not believe who we are, or we not who it is
│   ├── AccessDenied       the broker does not allow it to this principal
│   ├── TopicMissing       a topic that was never created
│   ├── MessageTooLarge    a message over the broker's limit
│   ├── BufferFull         too much waits for the broker already
│   ├── TransactionAborted a transaction that must be done again
│   └── ProducerFenced     another worker of the same name took over, or this one was away for too long
├── StackError             the local stack: Java, Maven, ports, processes
└── CameraError            a camera that cannot be opened or read

Errors of libraries are translated at the boundary that calls them; the original stays as ``__cause__``.
"""

from __future__ import annotations


class SimVGLineError(Exception):
    """Base of all errors that this product raises on purpose; the message names the bad value and the remedy."""


class SettingsError(SimVGLineError):
    """A setting, flag or settings file is wrong."""


class ContractError(SimVGLineError):
    """A message or stored value breaks its contract."""


class BadFrameMessage(ContractError):
    """A message on the frames topic cannot be read as a frame. ``reason`` is a short label fit for a metric."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class BadAlertMessage(ContractError):
    """A message on the alerts topic cannot be read as an alert."""


class UnknownAlert(SimVGLineError):
    """No alert that is kept has this id, or several begin so."""


class BadOperatorAction(ContractError):
    """A message is no operator's action, or an action cannot be carried out."""


class BadRejectedMessage(ContractError):
    """No rejected message is where one was asked for."""


class BadQuery(ContractError):
    """A standing query cannot be accepted."""


class RegistryError(SimVGLineError):
    """The registry of standing queries refused or failed."""


class RegistryUnavailable(RegistryError):
    """Redis cannot be reached."""


class RegistryAccessDenied(RegistryError):
    """The access control list of Redis does not allow it to this user."""


class QueryNotFound(RegistryError):
    """No standing query has this id."""


class QueryExists(RegistryError):
    """A standing query of this id exists already."""


class RevisionConflict(RegistryError):
    """The query was changed by somebody else since it was read."""


class QuerySetChanged(RegistryError):
    """A query was written since the caller looked at the set."""


class OverBudget(RegistryError):
    """With this query the set would cost a running worker more than it has time for."""


class BrokerError(SimVGLineError):
    """Kafka refused or failed."""


class BrokerUnavailable(BrokerError):
    """No broker answers at the given address."""


class CredentialsRefused(BrokerError):
    """The broker refuses our credentials, or its certificate is not one that we trust."""


class AccessDenied(BrokerError):
    """The access control list of the cluster does not allow it to this principal."""


class TopicMissing(BrokerError):
    """A topic that the role needs does not exist."""


class MessageTooLarge(BrokerError):
    """A message is larger than the broker accepts."""


class BufferFull(BrokerError):
    """Too many messages wait for the broker already; the local queue takes no more."""


class TransactionAborted(BrokerError):
    """Nothing of the open transaction counts; it can be done again."""


class ProducerFenced(BrokerError):
    """The broker takes nothing more from this producer.

    ``by_namesake``: because a newer one has its name, or because a transaction of its own took too long.
    """

    def __init__(self, message: str, *, by_namesake: bool) -> None:
        super().__init__(message)
        self.by_namesake = by_namesake


class StackError(SimVGLineError):
    """The local stack cannot be started or stopped."""


class CameraError(SimVGLineError):
    """A camera cannot be opened or read."""
