"""Plugins that reach out of the store or run code: known, and refused."""

from __future__ import annotations

from shieldwall.kql.plugins.registry import Plugin, Use, plugin
from shieldwall.kql.relation import Relation

REFUSED = {
    "sql_request": "other databases cannot be queried",
    "mysql_request": "other databases cannot be queried",
    "postgresql_request": "other databases cannot be queried",
    "cosmosdb_sql_request": "other databases cannot be queried",
    "azure_digital_twins_query_request": "other services cannot be queried",
    "http_request": "queries send no requests; externaldata reads files of allowed hosts",
    "http_request_post": "queries send no requests",
    "infer_storage_schema": "the schema of external files must be written out, as externaldata takes it",
    "infer_storage_schema_with_suggestions": "the schema of external files must be written out",
    "execute_query": "queries of other clusters cannot be run",
    "execute_show_command": "commands cannot be run",
    "external_datatable": "tables cannot be sent along",
    "python": "queries run no code",
    "r": "queries run no code",
    "csharp": "queries run no code",
    "ai_embed_text": "no model can be called",
    "ai_embeddings": "no model can be called",
    "ai_chat_completion": "no model can be called",
    "ai_chat_completion_prompt": "no model can be called",
}


def _refusing(reason: str) -> Plugin:
    def work(use: Use) -> Relation:
        raise use.error(f"this plugin is not available: {reason}.")

    return work


for _name, _reason in REFUSED.items():
    plugin(f"{_name}(arguments...)", sourceless=True)(_refusing(_reason))


@plugin("identity()")
def identity(use: Use) -> Relation:
    return use.relation
