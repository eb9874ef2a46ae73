"""Signing in: what can be set about it, and the authenticator that follows.

::

    sign_in                              the settings
    endpoints(sign_in, ...)              asks the provider for its addresses, where it has to be asked
    authenticator_config(sign_in, ...)   pure: the authenticator's class and its traits

`jupyterhub_config.py` calls them in this order. What cannot work is a `SignInMisconfigured`.
"""

from .authenticators import AuthenticatorConfig, authenticator_config
from .discovery import Endpoints, discover, endpoints
from .model import SignIn

__all__ = [
    "AuthenticatorConfig",
    "Endpoints",
    "SignIn",
    "authenticator_config",
    "discover",
    "endpoints",
]
