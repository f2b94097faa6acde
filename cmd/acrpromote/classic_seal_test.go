package main_test

import (
	"testing"
	"time"

	"acrpromote/internal/sim"
)

// TestSealInClassicRelease checks that a release can seal only images that are newer
// than the build of its primary artifact.
func TestSealInClassicRelease(t *testing.T) {
	env := newTestEnv(t)
	pushImage(env.prod, "shop/cart", "1", 1, 1, 100)
	task := func(artifact *sim.Run) outcome {
		release := env.project.Release(sim.ReleaseOptions{CreatedBy: developer, Artifact: artifact})
		stage := release.Stage("Seal", sim.ReleaseStageOptions{})
		stage.Begin()
		return env.taskOf(stage, inputs{"action": "seal", "source": prodHost + "/shop/cart:1"})
	}
	task(nil).refusedBy("older-than-run")
	later := env.project.QueueRun(sim.RunOptions{RequestedFor: developer, StartedAt: time.Now().Add(time.Hour)})
	task(later).refusedBy("older-than-run")
	task(env.run).want("done")
}
