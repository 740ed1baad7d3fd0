import sys; sys.path.insert(0,'/work/main/tests')
import numpy as np, numpy_decoder as nd, test_arithmetic as ta
def test_cov(tiny_model):
    n = ta.RecordingModel(tiny_model.path.read_bytes()); n.record=[]
    for size in ta.SIZES:
        for kind in ta.KINDS:
            pix=ta.make_pixels(*size,kind); h,p=ta.encode(pix,tiny_model)
            nd.decode_groups(n,nd.Stack(p),*size,h.rows,h.top)
    tr=[r[0] for r in n.record if len(r)==2]; hd=[r[0] for r in n.record if len(r)==1]
    for nm,l,lim in (('trunk',tr,[(-4096,4096),(-139,69),(-256,256)]),('head',hd,[(-2048,2048),(-46,23),(-256,256)])):
        for i,(a,b) in enumerate(lim):
            v=np.concatenate([x[3*i:3*i+3].ravel() for x in l]); print(nm,i,v.min(),v.max(),v.std(),(v==a).mean(),(v==b).mean())
    st=[r[1] for r in n.record if len(r)==2]; v=np.concatenate([x.ravel() for x in st]); print('state',v.min(),v.max())
