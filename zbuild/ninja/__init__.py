"""ninja's own files and rules: reading build.ninja and its logs, and deciding what is out of date.

The behaviour is that of ninja 1.13 (https://ninja-build.org/manual.html); where 1.11 differs, the
module that is concerned says so. Nothing here runs a command.
"""
