"""Files: read within bounds, validated by pydantic, and written whole or not at all."""
