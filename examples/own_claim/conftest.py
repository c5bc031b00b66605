"""A repository that judges claims needs this one line."""

pytest_plugins = ["taskclust.plugin"]
