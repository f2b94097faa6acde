package approval

import "strings"

// Claims are what a job says about its own run. They come from variables,
// which the author of the pipeline can set: none of them is believed before
// the server's records confirm it. Comments name the agent's variables.
type Claims struct {
	HostType  string // SYSTEM_HOSTTYPE
	ProjectID string // SYSTEM_TEAMPROJECTID
	PlanID    string // SYSTEM_PLANID

	// Of a YAML run.
	BuildID      int    // BUILD_BUILDID
	JobID        string // SYSTEM_JOBID
	StageID      string // SYSTEM_STAGEID, absent on older agents
	StageName    string // SYSTEM_STAGENAME
	StageAttempt int    // SYSTEM_STAGEATTEMPT

	// Of a classic release.
	ReleaseID       int    // RELEASE_RELEASEID
	EnvironmentID   int    // RELEASE_ENVIRONMENTID
	EnvironmentName string // RELEASE_ENVIRONMENTNAME
	ReleaseAttempt  int    // RELEASE_ATTEMPTNUMBER
	DeploymentID    int    // RELEASE_DEPLOYMENTID

	// RequesterIDs can only exclude more persons: BUILD_REQUESTEDFORID,
	// BUILD_QUEUEDBYID, BUILD_STAGEREQUESTEDBYID, BUILD_STAGEREQUESTEDFORID,
	// RELEASE_REQUESTEDFORID, RELEASE_DEPLOYMENT_REQUESTEDFORID.
	RequesterIDs []string
}

// Source returns what kind of run the job says it is part of; empty if the
// host type is neither kind. The host type alone decides: a release job also
// has the variables of a build, and any pipeline may set variables named
// RELEASE_*.
func (c Claims) Source() Source {
	switch {
	case strings.EqualFold(c.HostType, "build"):
		return YAML
	case strings.EqualFold(c.HostType, "release"), strings.EqualFold(c.HostType, "deployment"):
		return Release
	}
	return ""
}

// Requesters returns those who asked for the run, the stage or the deployment
// according to the agent.
func (c Claims) Requesters() []Requester {
	var list []Requester
	for _, id := range c.RequesterIDs {
		if id = GUID(id); id != "" {
			list = append(list, Requester{Person: Person{ID: id}, As: "requested this run or stage, according to the agent"})
		}
	}
	return list
}
