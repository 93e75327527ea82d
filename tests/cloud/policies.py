"""Whether policies allow a call, as IAM decides it: an explicit Deny wins, else an Allow is needed.

moto's own enforcement leaves out conditions, and looks at resources only for S3; here the tags, the passed service and the like count.
A condition with an operator that is not here is an error, not a guess.
"""

import re

from rules import listed


def matches(pattern, value):
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value, re.S) is not None


OPERATORS = {
    "StringEquals": lambda wanted, given: given in wanted,
    "StringLike": lambda wanted, given: any(matches(pattern, given) for pattern in wanted),
    "ArnLike": lambda wanted, given: any(matches(pattern, given) for pattern in wanted),
    "Bool": lambda wanted, given: given in wanted,
}


def holds(condition, context):
    for operator, keys in condition.items():
        optional = operator.endswith("IfExists") or operator.startswith("ForAllValues:")
        decide = OPERATORS[operator.removesuffix("IfExists").removeprefix("ForAllValues:")]
        for key, wanted in keys.items():
            given = context.get(key)
            if given is None and not optional or given is not None and not decide(listed(wanted), given):
                return False
    return True


def allowed(documents, action, resource="*", **context):
    """Keys of conditions are given with __ for : and ___ for /, as in aws__ResourceTag___fruits."""
    context = {key.replace("___", "/").replace("__", ":"): value for key, value in context.items()}
    effects = {
        statement["Effect"]
        for document in documents
        for statement in listed(document["Statement"])
        if any(matches(pattern.lower(), action.lower()) for pattern in listed(statement["Action"]))
        and any(matches(re.sub(r"\$\{aws:username\}", "ada", pattern), resource) for pattern in listed(statement["Resource"]))
        and holds(statement.get("Condition", {}), context)
    }
    return effects == {"Allow"}
