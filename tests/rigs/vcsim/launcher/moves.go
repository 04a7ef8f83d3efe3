package main

import (
	"net/http/httptest"
	"os"
	"path"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// prepareMove refuses to move a VM to a host that cannot read what is in its drives, and moves its files, which the
// simulator leaves where they are; nil when the simulator may do the rest.
func prepareMove(body []byte) *httptest.ResponseRecorder {
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil || method.Name != "RelocateVM_Task" {
		return nil
	}
	spec := method.Body.(*types.RelocateVM_Task).Spec
	vm, known := simulator.Map.Get(method.This).(*simulator.VirtualMachine)
	if !known {
		return nil
	}
	if fault := refuseMove(vm, spec.Host); fault != nil {
		return taskAnswer("RelocateVM_Task", failing(vm.Self, "relocateVm", fault))
	}
	if spec.Datastore != nil {
		simulator.Map.WithLock(vm, func() { moveFiles(vm, simulator.Map.Get(*spec.Datastore).(*simulator.Datastore)) })
	}
	return nil
}

func refuseMove(vm *simulator.VirtualMachine, host *types.ManagedObjectReference) types.BaseMethodFault {
	for _, device := range vm.Config.Hardware.Device {
		one := device.GetVirtualDevice()
		backing, isISO := one.Backing.(*types.VirtualCdromIsoBackingInfo)
		if host == nil || !isISO || one.Connectable == nil || !one.Connectable.Connected {
			continue
		}
		where := object.DatastorePath{}
		where.FromString(backing.FileName)
		if store := datastoreNamed(where.Datastore); store == nil || !mountedBy(store, host) {
			return &types.CannotAccessVmDevice{Device: "CD/DVD drive 1", Backing: backing.FileName, Connected: true}
		}
	}
	return nil
}

func moveFiles(vm *simulator.VirtualMachine, to *simulator.Datastore) {
	before := object.DatastorePath{}
	before.FromString(vm.Config.Files.VmPathName)
	from := datastoreNamed(before.Datastore)
	if from == nil || from == to {
		return
	}
	folder := path.Dir(before.Path)
	_ = os.Rename(path.Join(from.Info.GetDatastoreInfo().Url, folder), path.Join(to.Info.GetDatastoreInfo().Url, folder))
	moved := func(name *string) { *name = strings.Replace(*name, "["+from.Name+"]", "["+to.Name+"]", 1) }
	files := &vm.Config.Files
	for _, name := range []*string{&files.VmPathName, &files.SnapshotDirectory, &files.SuspendDirectory, &files.LogDirectory} {
		moved(name)
	}
	moved(&vm.Summary.Config.VmPathName)
	for number := range vm.LayoutEx.File {
		moved(&vm.LayoutEx.File[number].Name)
	}
	for _, device := range vm.Config.Hardware.Device {
		if backing, isDisk := device.GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo); isDisk {
			moved(&backing.FileName)
			backing.Datastore = &to.Self
		}
	}
}
