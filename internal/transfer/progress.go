package transfer

// Progress is told how a copy gets on. Its methods are called concurrently.
type Progress interface {
	// Start tells what there is to do, in bytes of distinct blobs and in blobs
	// (layers and configs). What turns out to be there already counts as done.
	Start(total int64, layers int)
	// Add counts bytes; negative ones where a blob starts again.
	Add(n int64)
	// LayerDone counts a blob that has arrived.
	LayerDone()
}

type noProgress struct{}

func (noProgress) Start(int64, int) {}
func (noProgress) Add(int64)        {}
func (noProgress) LayerDone()       {}
