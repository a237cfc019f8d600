"""Questions annotated by language models: clients, a store of answers, budgets, prompts, checks, many at once.

Nothing here imports torch but `local_model`, so that the command line starts at once.
"""

from __future__ import annotations

from lpr_lightning.annotation.asker import Asker as Asker
from lpr_lightning.annotation.asker import InvalidAnswerError as InvalidAnswerError
from lpr_lightning.annotation.asker import Retries as Retries
from lpr_lightning.annotation.asker import SetAsideError as SetAsideError
from lpr_lightning.annotation.budget import Budget as Budget
from lpr_lightning.annotation.budget import BudgetSpentError as BudgetSpentError
from lpr_lightning.annotation.budget import Prices as Prices
from lpr_lightning.annotation.chat import Answer as Answer
from lpr_lightning.annotation.chat import Client as Client
from lpr_lightning.annotation.chat import EndpointError as EndpointError
from lpr_lightning.annotation.chat import Message as Message
from lpr_lightning.annotation.chat import Prompt as Prompt
from lpr_lightning.annotation.chat import RefusedError as RefusedError
from lpr_lightning.annotation.chat import RetryableError as RetryableError
from lpr_lightning.annotation.chat import Token as Token
from lpr_lightning.annotation.concepts import Annotated as Annotated
from lpr_lightning.annotation.concepts import ConceptAnnotation as ConceptAnnotation
from lpr_lightning.annotation.endpoint import ChatEndpoint as ChatEndpoint
from lpr_lightning.annotation.prompt_templates import Templates as Templates
from lpr_lightning.annotation.runner import Outcome as Outcome
from lpr_lightning.annotation.runner import run_all as run_all
from lpr_lightning.annotation.scripted_server import Reply as Reply
from lpr_lightning.annotation.scripted_server import Request as Request
from lpr_lightning.annotation.scripted_server import ScriptedServer as ScriptedServer
from lpr_lightning.annotation.store import AnswerStore as AnswerStore
