// The tab on a run's page: finds out which run is shown, and reads and draws it until it
// has completed.
import * as SDK from 'azure-devops-extension-sdk';
import { Failure, nextDelay, stepsOf } from './steps.mjs';
import { Service } from './service.mjs';
import { View } from './view.mjs';

const BUILD_AREA = '965220d5-5bb9-42cf-8d67-9b146df2a5a4';
const UNANSWERED = 15_000;

class Tab {
  #view = new View(document, { load: (report) => this.#service.report(this.#run.project, this.#run.build, report), again: () => this.#read() });
  #service;
  #run;
  #timer;
  #delay;
  #failures = 0;
  #shown = '';
  #reading = 0;

  async start() {
    const unanswered = setTimeout(() => this.#view.fail('The page of Azure DevOps does not respond. This page works only on the page of a run.'), UNANSWERED);
    await SDK.init({ loaded: true, applyTheme: true });
    clearTimeout(unanswered);
    this.#view.adoptTheme();
    addEventListener('themeApplied', () => this.#view.adoptTheme());
    document.addEventListener('visibilitychange', () => this.#again());
    try {
      const locations = await SDK.getService('ms.vss-features.location-service');
      this.#service = new Service(await locations.getResourceAreaLocation(BUILD_AREA), SDK.getAccessToken);
      const { onBuildChanged } = SDK.getConfiguration();
      if (typeof onBuildChanged === 'function') onBuildChanged((build) => this.#show(build));
      else this.#show((await (await SDK.getService('ms.vss-build-web.build-page-data-service')).getBuildPageData())?.build);
    } catch (error) {
      this.#view.fail(error instanceof Failure ? error.message : 'The page of Azure DevOps did not say which run it shows. Reload the page.');
    }
  }

  // show starts with a run, or reads the same run again.
  #show(build) {
    const project = build?.project?.id ?? SDK.getWebContext()?.project?.id;
    if (!Number.isSafeInteger(build?.id) || typeof project !== 'string') {
      this.#view.fail('The page of Azure DevOps did not say which run it shows. Reload the page.');
      return;
    }
    if (build.id !== this.#run?.build) {
      this.#run = { project, build: build.id };
      this.#shown = '';
      this.#view.clear();
    }
    this.#delay = undefined;
    this.#failures = 0;
    this.#read();
  }

  // again reads at once, except what has completed. A tab in the background does not read.
  #again() {
    clearTimeout(this.#timer);
    if (!document.hidden && this.#run && !this.#run.completed) this.#read();
  }

  async #read() {
    clearTimeout(this.#timer);
    this.#reading += 1;
    const reading = this.#reading;
    const run = this.#run;
    let failure;
    let changed = false;
    try {
      const { completed, timelines, attachments } = await this.#service.run(run.project, run.build);
      if (reading !== this.#reading) return;
      run.completed = completed;
      const found = stepsOf(timelines, attachments, TASK_ID, run.build);
      const shown = JSON.stringify(found);
      changed = shown !== this.#shown;
      this.#shown = shown;
      this.#failures = 0;
      this.#view.show(found, completed);
    } catch (error) {
      if (reading !== this.#reading) return;
      failure = error instanceof Failure ? error : new Failure(`The steps could not be shown: ${error.message}`);
      this.#failures += 1;
    }
    const delay = nextDelay(this.#delay, { completed: run.completed, changed, failure, failures: this.#failures });
    if (failure) this.#view.fail(failure.message, delay);
    else this.#delay = delay;
    if (delay !== undefined && !document.hidden) this.#timer = setTimeout(() => this.#read(), delay);
  }
}

new Tab().start();
