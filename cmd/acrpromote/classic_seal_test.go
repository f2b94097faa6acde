package main_test

import (
	"testing"
	"time"

	"acrpromote/internal/sim"
)

// TestSealInAClassicRelease: the build that made the primary artifact pushed
// the image, so what is older than that build is not this release's to seal.
func TestSealInAClassicRelease(t *testing.T) {
	w := newWorld(t)
	pushImage(w.prod, "shop/cart", "1", 1, 1, 100)
	task := func(artifact *sim.Run) outcome {
		release := w.project.Release(sim.ReleaseOptions{CreatedBy: developer, Artifact: artifact})
		stage := release.Stage("Seal", sim.ReleaseStageOptions{})
		stage.Begin()
		return w.execute(stage.Environ(sim.Task{
			Inputs: inputs{"action": "seal", "source": prodHost + "/shop/cart:1"}, Connections: map[string][]*sim.ServiceConnection{"azureSubscription": {w.connection}},
			TempDirectory: w.folder(), Proxy: &sim.AgentProxy{URL: w.prodNetwork.ProxyURL()}, CAFile: w.cloud.CAFile(), Debug: true,
		}))
	}
	task(nil).refusedBy("older-than-run")
	later := w.project.QueueRun(sim.RunOptions{RequestedFor: developer, StartedAt: time.Now().Add(time.Hour)})
	task(later).refusedBy("older-than-run")
	task(w.run).want("done")
}
