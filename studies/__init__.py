"""Our own follow-up research: what the paper does not ask. Not part of the wheel."""
