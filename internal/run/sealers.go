package run

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/agent"
	"acrpromote/internal/approval"
	"acrpromote/internal/defect"
	"acrpromote/internal/plan"
	"acrpromote/internal/seal"
)

const (
	// claimLimit limits how many runs named by seal records are read.
	claimLimit = 256
	// claimsAtOnce limits how many of them are read concurrently.
	claimsAtOnce = 8
)

// readSealers reads the runs that the seal records name, if a flow requires that a
// certain run sealed the image.
func (r *reader) readSealers(ctx context.Context, f *findings) {
	f.releasing = approval.Releasing{
		Source: f.run.Kind, ID: f.run.ID, ProjectID: f.run.ProjectID, Project: f.run.Project, PipelineID: f.run.Definition, Branch: f.run.Branch,
	}
	if f.run.ID == 0 || !r.c.InRun || r.c.Unapproved() || r.c.Action == agent.Audit || !plan.BindsSealer(r.images) || ctx.Err() != nil {
		return
	}
	service, err := r.s.AzureDevOps()
	if err != nil {
		return
	}
	f.releasing = service.Releasing(ctx)
	images := observed(r.order, f, time.Time{})
	digests := map[plan.Claim]map[string]string{} // by claimed run
	var claims []plan.Claim
	for _, image := range images {
		for _, record := range image.Observed.Source.Records {
			for _, c := range image.Claims(record) {
				if digests[c] == nil {
					digests[c] = map[string]string{}
					claims = append(claims, c)
				}
				digests[c][seal.AttachmentName(image.Observed.Source.Digest)] = image.Observed.Source.Digest
			}
		}
	}
	runs := make([]approval.SealRun, len(claims))
	var group errgroup.Group
	group.SetLimit(claimsAtOnce)
	for i, c := range claims {
		if i >= claimLimit {
			runs[i] = approval.SealRun{Source: approval.YAML, ID: c.ID, Remedy: "Release fewer images at once, or remove seal records that were made by mistake.",
				Unread: fmt.Sprintf("run %d was not read: the seal records name more than %d runs", c.ID, claimLimit)}
			continue
		}
		group.Go(func() error {
			defer defect.Catch(ctx)
			runs[i] = service.SealRun(ctx, c.Project, c.ID, digests[c])
			return nil
		})
	}
	_ = group.Wait()
	read := map[plan.Claim]*approval.SealRun{}
	for i, c := range claims {
		read[c] = &runs[i]
	}
	release := service.ReleaseSeals(ctx)
	for i, image := range images {
		records := f.images[i].source.records
		for j := range records {
			for _, c := range image.Claims(records[j]) {
				if found := read[c]; records[j].Sealing == nil || found.Unread == "" {
					records[j].Sealing = found
				}
			}
			if records[j].Run.Kind == string(approval.Release) {
				records[j].Sealing = release
			}
		}
	}
}
