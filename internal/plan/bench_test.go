package plan

import (
	"fmt"
	"runtime"
	"testing"

	"acrpromote/internal/approval"
	"acrpromote/internal/ref"
	"acrpromote/internal/topology"
)

// BenchmarkPlan10000x20 plans 10,000 images for 20 targets in memory: the routes
// by the flow file, and the steps. heap-MB is the memory that remains in use.
func BenchmarkPlan10000x20(b *testing.B) {
	const images, targets = 10_000, 20
	text := "version: 1\ntrust: [dev, production]\nregistries:\n  prod: {host: prod.azurecr.io, trust: production, immutable: true}\n"
	to := ""
	for i := range targets {
		text += fmt.Sprintf("  dev%d: {host: dev%d.azurecr.io, trust: dev}\n", i, i)
		to += fmt.Sprintf("dev%d, ", i)
	}
	text += "flows:\n  released: {from: prod, to: [" + to + "], repositories: [\"shop/**\"], tags: [\">=1.0\"], require: {approval: {kind: manual, environment: Production}}}\n" +
		"  base: {from: prod, to: [" + to + "], repositories: [\"base/*\"], require: {approval: {kind: none}}}\n"
	file, err := topology.Parse("flows.yml", []byte(text))
	if err != nil {
		b.Fatal(err)
	}
	sources := make([]ref.Reference, images)
	for i := range sources {
		sources[i] = ref.Reference{Registry: prod, Repository: fmt.Sprintf("shop/app%d", i/10), Tag: fmt.Sprintf("1.%d.0", i%10)}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ReportAllocs()
	b.ResetTimer()
	var made Plan
	for range b.N {
		list := make([]Image, 0, images)
		for i, source := range sources {
			all, refused := AllTargets(file, InvertedPush, "released", source)
			if refused != nil {
				b.Fatal(refused)
			}
			w, against, err := FindRoutes(file, Request{Action: InvertedPush, Flow: "released", Source: source, Targets: all})
			if err != nil || len(against) > 0 {
				b.Fatal(err, against)
			}
			observed := Observed{Source: Source{Digest: fmt.Sprintf("sha256:%064x", i), Records: []Record{{}}}, Targets: make([]Target, len(w.Targets))}
			for j := range observed.Targets {
				if (i+j)%2 == 0 {
					observed.Targets[j] = Target{TagDigest: observed.Source.Digest, Root: true}
				}
			}
			list = append(list, Image{w, observed})
		}
		made = Make(list, approval.Verdict{Granted: true})
	}
	b.StopTimer()
	if len(made.Refusals) > 0 || len(made.Parts) != images || len(made.Parts[0].Steps) != targets {
		b.Fatalf("%d parts, refusals %v", len(made.Parts), made.Refusals)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "heap-MB")
	b.ReportMetric(float64(after.Sys)/1e6, "sys-MB")
	runtime.KeepAlive(made)
}
