"""Fine-tunes a sentence encoder as a multi-label classifier: slow but accurate, the teacher of the fast model.

This needs the extra ``encoder`` (torch, transformers).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import AutoModel, AutoTokenizer

from models.arrays import Float32s
from models.errors import InputError

_BFLOAT16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # without it, bfloat16 is emulated and takes longer than float32
_KEPT_EVERY = 500  # steps


class _Network(nn.Module):  # type: ignore[misc,unused-ignore]  # torch may be missing where types are checked
    """Mean of the last layer's token vectors, as in sentence-transformers, followed by a linear layer."""

    def __init__(self, encoder: nn.Module, n_targets: int) -> None:
        super().__init__()
        self.encoder = encoder
        # Dropout inside the encoder would take a fifth of the time; only the head has it.
        for module in encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(encoder.config.hidden_size, n_targets)

    def embed(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        vectors = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].float()
        return (vectors.float() * weights).sum(1) / weights.sum(1)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.dropout(self.embed(ids, mask)))
        return logits


class Encoder:
    """Fine-tunes a pretrained encoder whose weights are safetensors in a folder or on the Hugging Face hub.

    If the processor supports bfloat16, the encoder computes in it, which is faster.

    Parameters
    ----------
    pretrained : str or Path
        Folder or name of a ``sentence-transformers`` or BERT-like model.
    n_targets : int
        Number of labels to predict.
    seed : int
        Random seed of the new weights, dropout and the order of posts.
    epochs : int
        Passes over the posts.
    batch_size : int
        Posts per step.
    learning_rate : float
        Highest rate for AdamW: it rises linearly over the first tenth of the steps, then falls linearly to zero.
    max_tokens : int
        Longer posts are truncated.
    threads : int
        Number of threads for torch. Changing it changes the last bits of the results.

    Raises
    ------
    InputError
        If the weights cannot be loaded.
    """

    def __init__(
        self,
        pretrained: str | Path,
        n_targets: int,
        seed: int = 0,
        epochs: int = 2,
        batch_size: int = 32,
        learning_rate: float = 1e-4,
        max_tokens: int = 160,
        threads: int = 1,
    ) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self.seed, self.epochs, self.batch_size, self.learning_rate, self.max_tokens = seed, epochs, batch_size, learning_rate, max_tokens
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(pretrained)
            self.network = _Network(AutoModel.from_pretrained(pretrained, use_safetensors=True), n_targets)
        except (OSError, ValueError):
            raise InputError(
                f"{pretrained}: cannot be loaded as an encoder; give a folder with its weights as safetensors, or its name on the hub"
            ) from None

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)["input_ids"]
        return ids

    @staticmethod
    def _padded(ids: list[list[int]], rows: Sequence[int] | NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(len(ids[row]) for row in rows)
        padded, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
        for number, row in enumerate(rows):
            padded[number, : len(ids[row])] = torch.tensor(ids[row])
            mask[number, : len(ids[row])] = 1
        return padded, mask

    def _batches(self, ids: list[list[int]], rng: np.random.Generator) -> Iterator[Sequence[int]]:
        """Yield batches of posts of similar length, in random order."""
        order, size = rng.permutation(len(ids)), self.batch_size
        batches: list[Sequence[int]] = []
        for start in range(0, len(order), size * 50):
            chunk = sorted(order[start : start + size * 50], key=lambda row: len(ids[row]))
            batches += [chunk[first : first + size] for first in range(0, len(chunk), size)]
        for number in rng.permutation(len(batches)):
            yield batches[number]

    def _optimiser(self) -> torch.optim.Optimizer:
        parameters = list(self.network.parameters())
        decayed = {"params": [each for each in parameters if each.ndim >= 2], "weight_decay": 0.01}
        others = {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0}
        return torch.optim.AdamW([decayed, others], lr=self.learning_rate, fused=True)

    def _loss(self, ids: list[list[int]], rows: Sequence[int], wanted: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        chosen = list(rows)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_BFLOAT16):
            logits = self.network(*self._padded(ids, rows))
        return (binary_cross_entropy_with_logits(logits.float(), wanted[chosen], reduction="none").sum(1) * weights[chosen]).mean()

    def fit(
        self,
        texts: Sequence[str],
        targets: Float32s,
        weights: Float32s,
        kept: Path,
        progress: Callable[[str], None] = lambda step: None,
    ) -> "Encoder":
        """Fine-tune the encoder and return it.

        Parameters
        ----------
        texts : sequence of str, length n_posts
            Normalised posts.
        targets : ndarray of float, shape (n_posts, n_targets)
            Labels as 0 and 1, or probabilities.
        weights : ndarray of float, shape (n_posts,)
            How much each post counts.
        kept : Path
            File for the state during training, from which a stopped run continues with the same results.
        progress : callable, optional
            Called with the step and the loss every 50 steps.
        """
        ids, wanted, counted = self._ids(texts), torch.tensor(targets, dtype=torch.float32), torch.tensor(weights)
        rng = np.random.default_rng(self.seed)
        batches = [rows for _ in range(self.epochs) for rows in self._batches(ids, rng)]
        steps, optimiser = len(batches), self._optimiser()
        warm = max(1, int(0.1 * steps))
        self.network.train()
        for step in range(self._resume(kept, optimiser), steps):
            torch.manual_seed(self.seed * 1_000_003 + step)  # so that dropout does not depend on where a run was stopped
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate * min((step + 1) / warm, (steps - step) / (steps - warm))
            loss = self._loss(ids, batches[step], wanted, counted)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimiser.step()
            if (step + 1) % 50 == 0:
                progress(f"step {step + 1:,} of {steps:,}, loss {loss.item():.2f}")
            if (step + 1) % _KEPT_EVERY == 0 or step + 1 == steps:
                self._keep(kept, optimiser, step + 1)
        return self

    def _state(self, optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        state = dict(self.network.named_parameters())
        for name, parameter in list(state.items()):
            state |= {f"{key} of {name}": value for key, value in optimiser.state[parameter].items()}
        return {name: tensor.detach().contiguous() for name, tensor in state.items()}

    def _keep(self, kept: Path, optimiser: torch.optim.Optimizer, step: int) -> None:
        unfinished = kept.with_name("unfinished")
        save_file(self._state(optimiser) | {"step": torch.tensor(step)}, unfinished)
        unfinished.rename(kept)

    def _resume(self, kept: Path, optimiser: torch.optim.Optimizer) -> int:
        """Load the state that `_keep` wrote, if it did, and return the number of steps done."""
        if not kept.exists():
            return 0
        try:
            state = load_file(kept)
            for name, parameter in self.network.named_parameters():
                parameter.data.copy_(state[name])
                if f"step of {name}" in state:  # a layer that is not used, such as BERT's pooler, has none
                    optimiser.state[parameter] = {key: state[f"{key} of {name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            return int(state["step"])
        except (SafetensorError, KeyError):
            raise InputError(
                f"{kept}: is damaged; delete it and run the same command again, which trains this teacher from the beginning"
            ) from None

    def _by_length(self, texts: Sequence[str], of_batch: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Float32s:
        self.network.eval()
        ids = self._ids(texts)
        order = np.argsort([len(each) for each in ids], kind="stable")
        parts = []
        with torch.inference_mode():
            for start in range(0, len(order), 64):
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_BFLOAT16):
                    found = of_batch(*self._padded(ids, order[start : start + 64]))
                parts.append(found.float().numpy())
        answers: Float32s = np.concatenate(parts)[np.argsort(order)]
        return answers

    def decision_function(self, texts: Sequence[str]) -> Float32s:
        """Return the log odds of each label, shape (n_posts, n_targets)."""
        return self._by_length(texts, self.network)

    def embed(self, texts: Sequence[str]) -> Float32s:
        """Return the mean token vector of each text, shape (n_texts, n_dimensions)."""
        return self._by_length(texts, self.network.embed)
