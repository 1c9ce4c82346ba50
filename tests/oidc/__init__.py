"""A certified OpenID provider (npm's oidc-provider) beside a real decision service."""
