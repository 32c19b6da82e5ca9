"""A draft held against its project, and taken back where its point is an invention or it has no words.

It writes nothing down and tells nobody: that is ``ask``'s.
"""

import logging
from dataclasses import replace

from coding_assistant.chat.draft import Draft
from coding_assistant.chat.grounding import (
    GroundingRules,
    asked_again,
    grounding_of,
    note_to_ask_again,
    told_not_found,
)
from coding_assistant.chat.project_code import ProjectCode
from coding_assistant.chat.prompt import ComposedPrompt
from coding_assistant.domain import Grounding
from coding_assistant.errors import CodingAssistantError
from coding_assistant.protocols import Engine

logger = logging.getLogger(__name__)


async def ground(draft: Draft, code: ProjectCode, rules: GroundingRules) -> Grounding:
    """Return, and note in the draft, what of its text the project does not bear out.

    Nothing, where the index cannot be asked now: an answer is not lost for that. Names take up to 150 ms each
    to be looked up, so no text is grounded twice.
    """
    text = draft.text.strip()
    if draft.question is None or text == draft.grounded_text:
        return draft.grounding
    try:
        found = await grounding_of(text, draft.question, code, shown=draft.shown)
    except CodingAssistantError as error:
        logger.warning("the names of an answer were not looked up: %s", error.code)
        found = Grounding()
    found = replace(found, taken_back=draft.grounding.taken_back)
    draft.grounding = told_not_found(found, text, draft.question, rules, draft.sources)
    draft.grounded_text = text
    return draft.grounding


async def begun_again(
    draft: Draft, composed: ComposedPrompt, engine: Engine, code: ProjectCode, rules: GroundingRules
) -> ComposedPrompt | None:
    """Take the draft back if its point is an invention or it has no words; return the prompt to go on with.

    None: the draft stands. So does whatever is written the second time.
    """
    grounding = await ground(draft, code, rules)
    if draft.question is None:
        return None
    note = note_to_ask_again(draft.text, grounding, draft.question, rules)
    room = composed.receipt.limit - composed.receipt.reserved
    prompt = await asked_again(engine, composed, note, most_tokens=room) if note else None
    if prompt is not None:
        read = len(prompt.tokens) - len(composed.tokens)
        draft.take_back(grounding.unverified_names, note=note, note_tokens=read)
    return prompt
