"""The logic behind ApprovalService: who sees an approval, what a verdict does, when one expires."""
