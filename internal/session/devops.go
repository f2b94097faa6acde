package session

import (
	"strings"

	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
	"acrpromote/internal/egress"
)

func (s *Session) openAzureDevOps() (*azdo.Service, error) {
	c := s.config
	claims := azdo.Claims{
		Claims: approval.Claims{
			HostType: c.Claims.HostType, ProjectID: c.Claims.ProjectID, PlanID: c.Claims.PlanID,
			JobID: c.Claims.JobID, StageID: c.Claims.StageID, StageName: c.Claims.StageName,
			StageAttempt: int(c.Claims.StageAttempt), BuildID: int(c.Claims.BuildID),
			ReleaseID: int(c.Claims.ReleaseID), EnvironmentID: int(c.Claims.ReleaseEnvironmentID), EnvironmentName: c.Claims.ReleaseEnvironmentName,
			ReleaseAttempt: int(c.Claims.ReleaseAttempt), DeploymentID: int(c.Claims.ReleaseDeploymentID),
		},
		Collection: c.CollectionURL, ProjectName: c.Claims.Project, OIDCRequestURI: c.Claims.OIDCRequestURI,
	}
	requesters := []string{c.Claims.BuildRequestedForID, c.Claims.BuildQueuedByID, c.Claims.StageRequestedByID, c.Claims.StageRequestedForID}
	if c.Claims.Classic() {
		// In a release, the build's variables name the requesters of the
		// artifact's build, who did not request the release.
		requesters = []string{c.Claims.ReleaseRequestedForID, c.Claims.DeploymentRequestedForID}
	}
	for _, id := range requesters {
		if strings.TrimSpace(id) != "" {
			claims.RequesterIDs = append(claims.RequesterIDs, id)
		}
	}
	hosts, err := azdo.Hosts(claims)
	if err != nil {
		return nil, err
	}
	client := s.network.Client(egress.Phase{
		Name: "reading the run and its approvals", Hosts: hosts, Retries: retryLimit,
		Timeout: serviceTimeout, BodyLimit: serviceBodyLimit,
	})
	service, err := azdo.New(client, claims, c.Token.Reveal())
	if err != nil {
		return nil, err
	}
	service.Redact(c.Secrets)
	return service, nil
}
