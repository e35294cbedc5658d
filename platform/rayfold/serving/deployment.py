"""The Ray Serve deployment: it parses requests, predicts waiting ones together, and answers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from rayfold.bundle import load_for_serving
from rayfold.errors import DataError
from rayfold.serving.messages import (
    Features,
    RequestError,
    answer,
    check_predictions,
    check_target,
    description,
    parse_request,
    read_body,
)

BATCHES_AT_ONCE = 4
"""Number of batches that a replica may hold, in prediction and waiting.

By default Ray lets a replica hold five requests, so no larger batch is ever full, and other
requests ask again in growing intervals.
"""


class EnsembleServer:
    """Answers requests with a bundle's predictions.

    A malformed request gets status 400 and ``{"error": reason}``; it does not affect the others in
    its batch.

    Args:
        folder: The bundle.
        allow_code: Whether to run the code of its models, if it has no ONNX program.
        max_batch_size: Largest number of requests that are predicted together.
        batch_wait_seconds: Seconds that the first of them waits for others.
    """

    def __init__(
        self,
        folder: str,
        *,
        allow_code: bool,
        max_batch_size: int,
        batch_wait_seconds: float,
    ) -> None:
        self.ensemble = load_for_serving(Path(folder), allow_code=allow_code)
        self.predict.set_max_batch_size(max_batch_size)
        self.predict.set_batch_wait_timeout_s(batch_wait_seconds)

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer a POST with predictions, a GET with the inputs of the ensemble."""
        try:
            check_target(request.method, request.url.path)
            if request.method != "POST":
                return JSONResponse(description(self.ensemble))
            body = await read_body(request.stream())
            features = parse_request(body, self.ensemble.signature)
            predictions = await self.predict(features)
            check_predictions(predictions)
            return JSONResponse(answer(self.ensemble, predictions))
        except RequestError as error:
            allowed = {"Allow": "GET, HEAD, POST"} if error.status == 405 else None
            return JSONResponse({"error": str(error)}, status_code=error.status, headers=allowed)
        except DataError as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    @serve.batch
    async def predict(self, requests: Sequence[Features]) -> list[NDArray[np.float64]]:
        """Predict the rows of several requests together."""
        lengths = [len(features[0]) for features in requests]
        together = tuple(np.concatenate(columns) for columns in zip(*requests, strict=True))
        predictions = await asyncio.to_thread(self.ensemble.predict_checked, together)
        return np.split(predictions, np.cumsum(lengths)[:-1])


def application(folder: Path, *, num_replicas: int, max_batch_size: int, **options: Any) -> Any:
    """Return the application that ``ray.serve.run`` takes.

    Args:
        folder: The bundle.
        num_replicas: Number of processes that predict.
        max_batch_size: Largest number of requests that are predicted together.
        options: Other arguments of ``EnsembleServer``.
    """
    deployment = serve.deployment(
        EnsembleServer,
        num_replicas=num_replicas,
        max_ongoing_requests=BATCHES_AT_ONCE * max_batch_size,
    )
    return deployment.bind(str(folder.absolute()), max_batch_size=max_batch_size, **options)
