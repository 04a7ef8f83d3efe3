// A vCenter (or a stand-alone ESXi) for the tests: govmomi's simulator behind a front that behaves, where the simulator
// is lenient, as the real one does, and that breaks on demand.
//
// Its only argument is a file with its configuration as JSON; it serves until it is killed.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/simulator/vpx"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// cluster is one cluster of a datacenter, with its hosts.
type cluster struct {
	Datacenter string   `json:"datacenter"`
	Name       string   `json:"name"`
	Hosts      []string `json:"hosts"`
}

// datastore is one datastore: its files lie in Directory, the named hosts, of one datacenter, have it mounted.
type datastore struct {
	Name      string   `json:"name"`
	Directory string   `json:"directory"`
	Hosts     []string `json:"hosts"`
}

type configuration struct {
	ESXi        bool                `json:"esxi"`
	Listen      string              `json:"listen"`
	Plain       string              `json:"plain"`
	Certificate string              `json:"certificate"`
	Key         string              `json:"key"`
	User        string              `json:"user"`
	Password    string              `json:"password"`
	UUID        string              `json:"uuid"`
	Clusters    []cluster           `json:"clusters"`
	Datastores  []datastore         `json:"datastores"`
	Pods        map[string][]string `json:"pods"`
	VSAN        []string            `json:"vsan"` // directories of datastores that take objects only at the top
}

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	var wanted configuration
	text, err := os.ReadFile(os.Args[1])
	must(err)
	must(json.Unmarshal(text, &wanted))

	content := vpx.ServiceContent
	content.About.InstanceUuid = wanted.UUID
	model := &simulator.Model{ServiceContent: content, RootFolder: vpx.RootFolder}
	if wanted.ESXi {
		model = &simulator.Model{ServiceContent: esx.ServiceContent, RootFolder: esx.RootFolder}
	}
	must(model.Create())
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(wanted.User, wanted.Password)}
	server := model.Service.NewServer() // registers the handlers; its own port is not used
	defer server.Close()
	must(populate(&wanted))

	front := newFront(model.Service.ServeMux, &wanted)
	plain := http.NewServeMux()
	plain.HandleFunc("/control/", front.control)
	plain.HandleFunc("/sdk", front.administer)
	go func() { must(http.ListenAndServe(wanted.Plain, plain)) }()

	listener, err := net.Listen("tcp", wanted.Listen)
	must(err)
	must(front.useCertificate(wanted.Certificate, wanted.Key))
	secure := tls.NewListener(&gate{Listener: listener, front: front}, &tls.Config{GetCertificate: front.certificate})
	must((&http.Server{Handler: front, ErrorLog: log.New(os.Stderr, "tls: ", 0)}).Serve(secure))
}

// populate makes datacenters, clusters and hosts, mounts the datastores and puts some of them into datastore clusters.
func populate(wanted *configuration) error {
	if wanted.ESXi {
		host := simulator.Map.Any("HostSystem").(*simulator.HostSystem)
		host.Name = wanted.Clusters[0].Hosts[0]
		host.Summary.Config.Name = host.Name
	} else {
		for _, one := range wanted.Clusters {
			if err := compute(one); err != nil {
				return err
			}
		}
	}
	hosts := map[string]*simulator.HostSystem{}
	for _, entity := range simulator.Map.All("HostSystem") {
		host := entity.(*simulator.HostSystem)
		hosts[host.Name] = host
	}
	stores := map[string]*simulator.Datastore{}
	for _, one := range wanted.Datastores {
		var store *simulator.Datastore
		for _, name := range one.Hosts {
			system := simulator.Map.Get(*hosts[name].ConfigManager.DatastoreSystem).(*simulator.HostDatastoreSystem)
			request := &types.CreateLocalDatastore{Name: one.Name, Path: one.Directory}
			answer := system.CreateLocalDatastore(newContext(), request)
			if answer.Fault() != nil {
				return fmt.Errorf("datastore %s: %s", one.Name, answer.Fault().String)
			}
			made := answer.(*methods.CreateLocalDatastoreBody).Res.Returnval
			store = simulator.Map.Get(made).(*simulator.Datastore)
		}
		stores[one.Name] = store
		store.Host = nil
		for _, name := range one.Hosts {
			yes := true
			store.Host = append(store.Host, types.DatastoreHostMount{
				Key:       hosts[name].Self,
				MountInfo: types.HostMountInfo{AccessMode: "readWrite", Mounted: &yes, Accessible: &yes},
			})
		}
		several := len(one.Hosts) > 1
		store.Summary.MultipleHostAccess = &several
		if isVSAN(wanted, store) {
			store.Summary.Type = "vsan"
			store.Capability.TopLevelDirectoryCreateSupported = new(bool)
		}
		browser := simulator.Map.Get(store.Browser).(*simulator.HostDatastoreBrowser)
		browser.Datastore = []types.ManagedObjectReference{store.Self}
	}
	return pool(wanted.Pods, stores)
}

// compute makes a cluster and its hosts, in a datacenter that is made when it is not there.
func compute(wanted cluster) error {
	root := simulator.Map.Get(vpx.RootFolder.Self).(*simulator.Folder)
	datacenter, known := simulator.Map.FindByName(wanted.Datacenter, root.ChildEntity).(*simulator.Datacenter)
	if !known {
		request := &types.CreateDatacenter{Name: wanted.Datacenter}
		made := root.CreateDatacenter(newContext(), request).(*methods.CreateDatacenterBody)
		datacenter = simulator.Map.Get(made.Res.Returnval).(*simulator.Datacenter)
	}
	folder := simulator.Map.Get(datacenter.HostFolder).(*simulator.Folder)
	request := &types.CreateClusterEx{Name: wanted.Name}
	answer := folder.CreateClusterEx(newContext(), request)
	if answer.Fault() != nil {
		return fmt.Errorf("cluster %s: %s", wanted.Name, answer.Fault().String)
	}
	made := simulator.Map.Get(answer.(*methods.CreateClusterExBody).Res.Returnval).(*simulator.ClusterComputeResource)
	for _, host := range wanted.Hosts {
		made.AddHostTask(&types.AddHost_Task{Spec: types.HostConnectSpec{HostName: host}, AsConnected: true})
	}
	return nil
}

func pool(pods map[string][]string, stores map[string]*simulator.Datastore) error {
	for name, members := range pods {
		folder := simulator.Map.Get(*stores[members[0]].Parent).(*simulator.Folder)
		answer := folder.CreateStoragePod(newContext(), &types.CreateStoragePod{This: folder.Self, Name: name})
		if answer.Fault() != nil {
			return fmt.Errorf("pod %s: %s", name, answer.Fault().String)
		}
		for _, entity := range simulator.Map.All("StoragePod") {
			pod := entity.(*simulator.StoragePod)
			if pod.Name != name {
				continue
			}
			for _, member := range members {
				move := &types.MoveIntoFolder_Task{This: pod.Self, List: []types.ManagedObjectReference{stores[member].Self}}
				pod.MoveIntoFolderTask(newContext(), move)
			}
		}
	}
	return nil
}

func newContext() *simulator.Context {
	session := &simulator.Session{Registry: simulator.NewRegistry()}
	return &simulator.Context{Context: context.Background(), Session: session, Map: simulator.Map}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
