from coding_assistant.terms import *  # noqa
from coding_assistant.terms import QueryTerms, index_terms, joined_name, query_terms, stem, TERMS_VERSION, STOP_WORDS  # noqa
