// Stands in for the page of Azure DevOps. It speaks with the tab through the library that
// the SDK itself speaks through.
import { channelManager } from '../../node_modules/azure-devops-extension-sdk/esm/XDM.js';

const { tab, api, token, theme, build, project, pageService } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
const frame = document.querySelector('iframe');
const channel = channelManager.addChannel(frame.contentWindow, new URL(tab).origin);
const host = { called: [], changed: [] };

const methods = {
  initialHandshake: () => ({
    contributionId: 'acrpromote.acrpromote.acrpromote-tab',
    context: {
      extension: { id: 'acrpromote.acrpromote', publisherId: 'acrpromote', extensionId: 'acrpromote', version: '0.0.0' },
      user: { id: project, name: 'developer@example.com' },
      host: { id: project, name: 'contoso', type: 4 },
      pageContext: { webContext: { project: { id: project, name: 'Shop' } } },
    },
    initialConfig: pageService ? {} : {
      onBuildChanged(callback) {
        host.changed.push(callback);
        callback(build);
      },
    },
    themeData: theme,
  }),
  notifyLoadSucceeded: () => undefined,
  notifyLoadFailed: () => undefined,
  getAccessToken: () => ({ token }),
};
const services = {
  'ms.vss-features.location-service': { getResourceAreaLocation: (area) => Promise.resolve(area === '965220d5-5bb9-42cf-8d67-9b146df2a5a4' ? api : 'https://elsewhere.invalid/') },
  'ms.vss-build-web.build-page-data-service': { getBuildPageData: () => ({ build }) },
};
for (const [name, method] of Object.entries(methods)) {
  methods[name] = (...parameters) => {
    host.called.push(name);
    return method(...parameters);
  };
}
channel.getObjectRegistry().register('DevOps.HostControl', methods);
channel.getObjectRegistry().register('DevOps.ServiceManager', { getService: (id) => services[id] });

host.theme = (data) => channel.invokeRemoteMethod('dispatchEvent', 'DevOps.SdkClient', ['themeChanged', { detail: { data } }]);
window.host = host;
frame.src = tab;
