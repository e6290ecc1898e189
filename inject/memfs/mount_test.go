package memfs

import "testing"

func TestNeverSwapped(t *testing.T) {
	const mountinfo = `22 1 0:21 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=1024k
36 22 0:30 / /run/a rw,nosuid - tmpfs quaymaster rw,noswap,mode=711
37 22 0:31 / /run/b rw,nosuid - tmpfs quaymaster rw,mode=711
38 22 0:32 / /run/c rw,nosuid - tmpfs quaymaster rw,noswap
39 38 0:33 / /run/c rw,nosuid - tmpfs over rw
`
	for dir, want := range map[string]bool{"/run/a": true, "/run/b": false, "/run/c": false, "/run/d": false} {
		if got := neverSwapped(mountinfo, dir); got != want {
			t.Errorf("%s: %v, want %v", dir, got, want)
		}
	}
}
