package transfer

// Progress receives the progress of a copy. Its methods are called concurrently.
type Progress interface {
	// Start adds the size of a copy, in bytes and in blobs (layers and configs).
	// Those that are there already count as done.
	Start(total int64, layers int)
	// Add adds bytes that were sent; negative if a blob starts again.
	Add(n int64)
	// LayerDone adds a blob that is complete.
	LayerDone()
}

type noProgress struct{}

func (noProgress) Start(int64, int) {}
func (noProgress) Add(int64)        {}
func (noProgress) LayerDone()       {}
