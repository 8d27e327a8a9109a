"""From a notice to a proposal: what runs today, on the models that could follow, as it is and searched anew."""
