from collections.abc import Callable, Mapping
from typing import (
    Any,
    ClassVar,
    Literal,
    NoReturn,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    overload,
    runtime_checkable,
)

from ._kinds import (
    AppConfig as AppConfig,
    Parameter as Parameter,
    ParameterTree as ParameterTree,
)
from ._live import CacheInfo as CacheInfo
from ._secret import Declaration as _Declaration, Secret as Secret
from ._sources import Source as Source
from ._values import Secrets as Secrets
from .backends import (
    Answer as Answer,
    AutoBackend as AutoBackend,
    AwsBackend as AwsBackend,
    Backend as Backend,
    ExtensionBackend as ExtensionBackend,
    FileBackend as FileBackend,
    MemoryBackend as MemoryBackend,
    SdkBackend as SdkBackend,
)
from .errors import (
    AccessDeniedError as AccessDeniedError,
    BackendError as BackendError,
    BackendUnavailableError as BackendUnavailableError,
    DeclarationError as DeclarationError,
    InjectionError as InjectionError,
    ResolutionError as ResolutionError,
    SecretNotFoundError as SecretNotFoundError,
    SecretsError as SecretsError,
    SecretValueError as SecretValueError,
)
from .events import (
    Event as Event,
    Fetched as Fetched,
    Retried as Retried,
    ServedStale as ServedStale,
)

__all__ = [
    "AccessDeniedError",
    "Answer",
    "AppConfig",
    "AutoBackend",
    "AwsBackend",
    "Backend",
    "BackendError",
    "BackendUnavailableError",
    "CacheInfo",
    "Declaration",
    "DeclarationError",
    "Event",
    "ExtensionBackend",
    "Fetched",
    "FileBackend",
    "InjectedHandler",
    "InjectionError",
    "LiveSecrets",
    "MemoryBackend",
    "Parameter",
    "ParameterTree",
    "ResolutionError",
    "Retried",
    "SdkBackend",
    "Secret",
    "SecretNotFoundError",
    "SecretValueError",
    "Secrets",
    "SecretsError",
    "ServedStale",
    "Source",
    "clear_cache",
    "inject_secrets",
    "resolve_secrets",
]

__version__: str

_P = ParamSpec("_P")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)
_F = TypeVar("_F", bound=Callable[..., object])
Declaration: TypeAlias = str | _Declaration
_Backend: TypeAlias = Literal["auto", "extension", "aws", "sdk", "file"] | Backend
_Observer: TypeAlias = Callable[[Event], object]
_Exceptions: TypeAlias = type[Exception] | tuple[type[Exception], ...]

class LiveSecrets:
    __slots__ = ("_resolvers",)
    __iter__: ClassVar[None]
    def __init__(
        self,
        declarations: Mapping[str, Declaration] | None = None,
        /,
        *,
        ttl: float | None = None,
        backend: _Backend = "auto",
        timeout: float = 5.0,
        jitter: float = 0.1,
        stale_if_error: float = 3600,
        refresh_ahead: float = 0,
        observer: _Observer | None = None,
    ) -> None: ...
    def __init_subclass__(cls, **options: Any) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
    def __getitem__(self, name: str) -> Any: ...
    def __reduce__(self) -> NoReturn: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: object) -> Self: ...
    @property
    def declarations(self) -> dict[str, _Declaration]: ...
    def current(self) -> Secrets: ...
    async def acurrent(self) -> Secrets: ...
    def refresh(self, *names: str) -> None: ...
    async def arefresh(self, *names: str) -> None: ...
    def clear(self) -> None: ...
    def cache_info(self) -> CacheInfo: ...
    def retry_on(self, first: _Exceptions, /, *types: _Exceptions) -> Callable[[_F], _F]: ...

@runtime_checkable
class InjectedHandler(Protocol[_P, _R_co]):
    secrets: LiveSecrets
    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
    # No checker can tell here whether self, cls or nothing is bound: any arguments will do.
    def __get__(
        self, instance: object, owner: type | None = None
    ) -> InjectedHandler[..., _R_co]: ...

@overload
def inject_secrets(declarations: Callable[..., _R], /) -> InjectedHandler[..., _R]: ...
@overload
def inject_secrets(
    declarations: LiveSecrets,
    /,
    *,
    into: Literal["context", "event"] = "context",
    key: str = "secrets",
    refresh_on: _Exceptions = (),
    prefetch: bool = False,
) -> Callable[[Callable[_P, _R]], InjectedHandler[_P, _R]]: ...
@overload
def inject_secrets(
    declarations: LiveSecrets,
    /,
    *,
    into: Literal["kwargs"],
    key: str = "secrets",
    refresh_on: _Exceptions = (),
    prefetch: bool = False,
) -> Callable[[Callable[..., _R]], InjectedHandler[..., _R]]: ...
@overload
def inject_secrets(
    declarations: Mapping[str, Declaration],
    /,
    *,
    into: Literal["context", "event"] = "context",
    key: str = "secrets",
    ttl: float | None = None,
    backend: _Backend = "auto",
    timeout: float = 5.0,
    jitter: float = 0.1,
    stale_if_error: float = 3600,
    refresh_ahead: float = 0.0,
    refresh_on: _Exceptions = (),
    prefetch: bool = False,
    observer: _Observer | None = None,
) -> Callable[[Callable[_P, _R]], InjectedHandler[_P, _R]]: ...
@overload
def inject_secrets(
    declarations: Mapping[str, Declaration] | None = None,
    /,
    *,
    into: Literal["kwargs"] = ...,
    key: str = "secrets",
    ttl: float | None = None,
    backend: _Backend = "auto",
    timeout: float = 5.0,
    jitter: float = 0.1,
    stale_if_error: float = 3600,
    refresh_ahead: float = 0.0,
    refresh_on: _Exceptions = (),
    prefetch: bool = False,
    observer: _Observer | None = None,
) -> Callable[[Callable[..., _R]], InjectedHandler[..., _R]]: ...
def resolve_secrets(
    declarations: Mapping[str, Declaration],
    *,
    ttl: float | None = None,
    backend: _Backend = "auto",
    timeout: float = 5.0,
    jitter: float = 0.1,
    stale_if_error: float = 3600,
    refresh_ahead: float = 0.0,
    observer: _Observer | None = None,
) -> Secrets: ...
def clear_cache() -> None: ...
