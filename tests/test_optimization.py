from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from audiornn.errors import ConfigError
from audiornn.objectives import MulticlassConfig
from audiornn.training.optimization import (
    OptimizerConfig,
    ScheduleConfig,
    build_optimizer,
    build_schedule,
    change_settings,
    settings_of,
    sharpest_nearby,
)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_optimizer_lowers_a_quadratic_and_spares_vectors_weight_decay(name, fused):
    module = nn.Linear(3, 2)
    config = OptimizerConfig(name=name, learning_rate=0.05, weight_decay=0.1)
    optimizer = build_optimizer(config, module, fused=fused)
    decays = {
        parameter.dim(): group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]
    }
    assert decays == {2: 0.1, 1: 0.0}
    x, y = torch.eye(3), torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = (module(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def rates(config: ScheduleConfig, steps: int, steps_per_epoch: int = 10) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(config, optimizer, total_steps=steps, steps_per_epoch=steps_per_epoch)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_warmup_cosine_rises_to_the_peak_and_falls_to_its_end():
    seen = rates(ScheduleConfig(warmup_fraction=0.1, final_factor=0.2), 100)
    assert seen[0] == pytest.approx(1 / 11) and seen[10] == 1 and max(seen) == 1
    assert seen[55] == pytest.approx(0.6) and seen[-1] == pytest.approx(0.2, abs=1e-3)


def test_peak_is_held_before_the_fall():
    seen = rates(ScheduleConfig(warmup_fraction=0.1, hold_fraction=0.4), 100)
    assert seen[:10] == rates(ScheduleConfig(warmup_fraction=0.1), 100)[:10], "the same warm-up"
    assert set(seen[10:51]) == {1.0} and seen[51] < 1
    assert seen[75] == pytest.approx(0.5) and seen[-1] == pytest.approx(0, abs=1e-3)
    assert rates(ScheduleConfig(warmup_fraction=0.5, hold_fraction=0.5), 10)[5:] == [1.0] * 5


def test_sharpest_point_nearby_is_along_the_gradient_and_is_left_without_a_trace():
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2), nn.Linear(2, 2))
    module[3].requires_grad_(False)
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))

    def loss() -> torch.Tensor:
        return module(x).square().mean()

    loss().backward()
    before = [parameter.detach().clone() for parameter in module.parameters()]
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    plain = loss().item()
    with sharpest_nearby(module.parameters(), 0.05):
        moved = [now.detach() - own for now, own in zip(module.parameters(), before, strict=True)]
        for step, gradient in zip(moved, gradients, strict=False):
            torch.testing.assert_close(step, 0.05 * gradient / norm, atol=1e-6, rtol=1e-4)
        assert not moved[-1].any() and not moved[-2].any(), "what is held stays"
        assert loss().item() == pytest.approx(plain + 0.05 * norm.item(), rel=0.05)
    assert all(torch.equal(now, own) for now, own in zip(module.parameters(), before, strict=True))
    module.zero_grad(set_to_none=False)
    with sharpest_nearby(module.parameters(), 0.05):
        assert loss().item() == plain, "without a slope there is no direction"


def test_steps_drop_every_so_many_epochs():
    seen = rates(ScheduleConfig(name="steps", every_epochs=2, gamma=0.1), 50)
    assert [seen[at] for at in (0, 19, 20, 40)] == pytest.approx([1, 1, 0.1, 0.01])


def test_constant_is_constant():
    assert set(rates(ScheduleConfig(name="constant"), 10)) == {1.0}


def test_stages_last_in_their_proportions_and_have_their_factors():
    found = rates(ScheduleConfig(name="stages"), 60)
    assert found[:60] == pytest.approx([1.0] * 20 + [0.5] * 20 + [0.2] * 10 + [0.1] * 10)
    two = ScheduleConfig(name="stages", stage_lengths=[1, 3], stage_factors=[0.5, 0.25])
    assert rates(two, 8)[:8] == pytest.approx([0.5] * 2 + [0.25] * 6)


def test_plateau_drops_after_its_patience():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(ScheduleConfig(name="plateau", patience=1), optimizer, total_steps=9, steps_per_epoch=1)
    for _ in range(4):
        schedule.step(1.0)
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("schedule", ["steps", "plateau"])
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_restored_optimizer_goes_on_with_other_settings_where_its_schedule_was(name, schedule):
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))

    def built(config, gamma):
        optimizer = build_optimizer(config, module, factors={module[0]: 0.1})
        each = ScheduleConfig(name=schedule, every_epochs=1, gamma=gamma, patience=0)
        return optimizer, build_schedule(each, optimizer, total_steps=9, steps_per_epoch=1), each

    before = built(OptimizerConfig(name=name, learning_rate=0.3, weight_decay=0.1), 0.5)
    for _ in range(2):  # the first loss of the plateau is its best
        before[0].step()
        before[1].step(*[1.0] * (schedule == "plateau"))
    dropped = 0.5 if schedule == "plateau" else 0.25
    for changed in (False, True):
        rate, decay, betas = (0.5, 0.2, (0.8, 0.99)) if changed else (0.3, 0.1, (0.9, 0.999))
        config = OptimizerConfig(name=name, learning_rate=rate, weight_decay=decay, beta1=betas[0], beta2=betas[1])
        optimizer, scheduler, now = built(config, 0.4 if changed else 0.5)
        settings = settings_of(optimizer)
        optimizer.load_state_dict(before[0].state_dict())
        scheduler.load_state_dict(before[1].state_dict())
        change_settings(optimizer, scheduler, settings, now)
        groups = optimizer.param_groups
        if not changed:
            assert [optimizer.state_dict()] == [before[0].state_dict()]
        assert [group["lr"] for group in groups] == pytest.approx([rate * dropped] * 2 + [0.1 * rate * dropped] * 2)
        assert [group["weight_decay"] for group in groups] == [decay, 0, decay, 0]
        assert {group["betas"] if name == "adamw" else group["momentum"] for group in groups} == (
            {betas} if name == "adamw" else {betas[0]}
        )
    optimizer.step()
    scheduler.step(*[1.0] * (schedule == "plateau"))
    after = 0.5 * (0.5 * 0.4 if schedule == "plateau" else 0.4**3)
    assert groups[0]["lr"] == pytest.approx(after), "its later drops are those of now"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: OptimizerConfig(name="lion"), "got 'lion'"),
        (lambda: OptimizerConfig(learning_rate=0), "learning_rate must be above 0"),
        (lambda: OptimizerConfig(nesterov=True), "nesterov needs name=sgd"),
        (lambda: OptimizerConfig(beta2=1.0), "beta2"),
        (lambda: OptimizerConfig(weight_decay=-1), "weight_decay"),
        (lambda: ScheduleConfig(name="linear"), "got 'linear'"),
        (lambda: ScheduleConfig(warmup_fraction=2), "warmup_fraction"),
        (lambda: ScheduleConfig(warmup_fraction=0.6, hold_fraction=0.5), "at most 1 together, got 0.6 and 0.5"),
        (lambda: OptimizerConfig(sam_rho=-0.1), "sam_rho must be at least 0"),
        (lambda: ScheduleConfig(gamma=1), "gamma"),
        (lambda: ScheduleConfig(patience=-1), "patience"),
        (lambda: ScheduleConfig(stage_lengths=[1]), "one entry per stage, got 1 and 4"),
        (lambda: ScheduleConfig(stage_lengths=[1], stage_factors=[0]), "must be above 0"),
        (lambda: ScheduleConfig(stage_lengths=[math.inf], stage_factors=[1]), r"stage_lengths must .*, got \[inf\]"),
        (lambda: ScheduleConfig(stage_lengths=[1], stage_factors=[math.nan]), r"stage_factors must .*, got \[nan\]"),
        (lambda: MulticlassConfig(label_smoothing=1), "label_smoothing"),
        (lambda: MulticlassConfig(loss="focal"), "got 'focal'"),
        (
            lambda: MulticlassConfig(loss="generalised", label_smoothing=0.1),
            "expected label_smoothing=0 beside it, got 0.1",
        ),
        (lambda: MulticlassConfig(generalised_q=0), r"generalised_q must be in \(0, 1\], got 0"),
        (lambda: MulticlassConfig(bootstrapped_label=1), r"bootstrapped_label must be in \(0, 1\), got 1"),
        (lambda: MulticlassConfig(class_weights="inverse"), "got 'inverse'"),
    ],
)
def test_impossible_setting_is_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
