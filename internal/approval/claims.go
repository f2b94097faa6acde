package approval

import "strings"

// Claims are what a job says about its own run. They come from variables, which
// the pipeline's author can set, so none of them is trusted until the server's
// records confirm it. The comments name the agent's variables.
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

	// RequesterIDs can only exclude more people: BUILD_REQUESTEDFORID,
	// BUILD_QUEUEDBYID, BUILD_STAGEREQUESTEDBYID, BUILD_STAGEREQUESTEDFORID,
	// RELEASE_REQUESTEDFORID, RELEASE_DEPLOYMENT_REQUESTEDFORID.
	RequesterIDs []string
}

// Source returns the kind of run that the job claims to be part of, or "" if the
// host type is neither. Only the host type decides: a release job also has the
// variables of a build, and any pipeline can set variables named RELEASE_*.
func (c Claims) Source() Source {
	switch {
	case strings.EqualFold(c.HostType, "build"):
		return YAML
	case strings.EqualFold(c.HostType, "release"), strings.EqualFold(c.HostType, "deployment"):
		return Release
	}
	return ""
}

// Requesters returns the people who requested the run, the stage or the
// deployment according to the agent.
func (c Claims) Requesters() []Requester {
	var list []Requester
	for _, id := range c.RequesterIDs {
		if id = GUID(id); id != "" {
			list = append(list, Requester{Person: Person{ID: id}, As: "requested this run or stage, according to the agent"})
		}
	}
	return list
}
