"""Pure reads over a View: filters, nearest neighbours, scroll."""
