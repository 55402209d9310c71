"""Field indexes: payload values arranged so that filters, orders and facets need not read payloads."""
