package attach

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs work on a thread that ends with it, so that nothing else ever
// runs in the namespace that work enters. It does not wait for work.
//
// The process's first thread will not do: it does not end with a goroutine, and
// it is the one that /proc/self shows.
func onThread(work func()) {
	locked := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(locked)
		if unix.Gettid() == unix.Getpid() {
			onThread(work) // on another thread, because this one is locked until that one is
			runtime.UnlockOSThread()
			return
		}
		work() // the lock stays: that is what ends the thread
	}()
	<-locked
}
